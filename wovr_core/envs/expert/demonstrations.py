"""Demonstrations with flaws: the scripted expert under noise and deliberate faults, recorded as an Episode.

The executed action is what the (perhaps deceived) expert wanted plus noise; the clean label beside it is
what the expert, seeing truly, would have done at that very instant. So noise widens what imitation sees
without teaching it, and a faulty episode is a failure to learn from, with right answers beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from wovr_core.envs.expert.skills import (
    CLOSE,
    OPEN,
    OPEN_WIDTH,
    Sight,
    SkillConfig,
    expert_action,
    is_between_fingers,
    is_held,
    look,
)
from wovr_core.envs.recording import Recorder
from wovr_core.errors import WovrError
from wovr_core.types import ACTION_DIM, CHUNK, Episode, FloatArray

FaultKind = Literal["none", "bad_grasp", "early_release", "bad_place"]
FAULTS: tuple[FaultKind, ...] = ("bad_grasp", "early_release", "bad_place")


@dataclass(frozen=True)
class NoiseConfig:
    """What is added to the translation of an executed action, in action units (1 = full speed)."""

    gaussian: float = 0.15
    """Deviation of the part drawn anew at each step."""
    drift: float = 0.15
    """Deviation of the part that varies slowly: it leads to places the expert alone would not visit."""
    drift_steps: float = 10.0
    """Steps over which the drift forgets itself."""


class Noise:
    """Seeded noise on actions; its drift is an AR(1) process that starts in its stationary state."""

    def __init__(self, config: NoiseConfig, generator: np.random.Generator) -> None:
        self.config = config
        self.generator = generator
        self._drift = config.drift * generator.standard_normal(3)

    def __call__(self, clean: FloatArray) -> FloatArray:
        """(7,) -> (7,) the action to execute: translation disturbed and clipped, the rest as it was."""
        keep = np.exp(-1.0 / self.config.drift_steps)
        fresh, white = self.generator.standard_normal((2, 3))
        self._drift = keep * self._drift + self.config.drift * np.sqrt(1 - keep**2) * fresh
        action = clean.copy()
        action[:3] = np.clip(action[:3] + self._drift + self.config.gaussian * white, -1, 1)
        return action


@dataclass(frozen=True)
class FaultConfig:
    """How far the deceptions go, in m; each episode draws its own from the ranges."""

    grasp_offset: tuple[float, float] = (0.015, 0.05)
    """bad_grasp: sideways distance between where the object is and where it is believed."""
    release_at: tuple[float, float] = (0.1, 0.9)
    """early_release: share of the way to the target after which the fingers open."""
    place_offset: tuple[float, float] = (0.09, 0.16)
    """bad_place: sideways distance between the target and where it is believed."""
    recover: float = 0.25
    """Probability that the expert sees truly once the fault has done its harm, and may mend it."""


class Fault:
    """One deliberate fault of one episode. It deceives the expert, or opens its hand; it may remember."""

    CLOSING_STEPS = 7
    """A deceived expert holds what it believes in after closing for so long, whatever the fingers say."""
    OPENING_STEPS = 6

    def __init__(self, kind: FaultKind, config: FaultConfig, generator: np.random.Generator) -> None:
        self.kind = kind
        ranges = {"bad_grasp": config.grasp_offset, "bad_place": config.place_offset}
        angle = generator.uniform(0, 2 * np.pi)
        distance = generator.uniform(*ranges.get(kind, (0.0, 0.0)))
        self._offset = (distance * np.array([np.cos(angle), np.sin(angle), 0])).astype(np.float32)
        self._release_at = float(generator.uniform(*config.release_at))
        self.recovers = bool(generator.random() < config.recover)
        self._closing = 0
        self._opening = 0
        self._way: float | None = None
        self._in_hand = False
        self._last_height = np.inf
        self._sees = False
        self.finished = False
        """The deceived expert thinks that all is done, and retreats."""

    def act(self, sight: Sight, config: SkillConfig) -> FloatArray:
        """(7,) what the deceived expert does at this instant."""
        if self.kind == "none" or self._sees:
            return expert_action(sight, config)
        if self.kind == "bad_place":
            if self._in_hand and not is_between_fingers(sight) and sight.width > OPEN_WIDTH:
                return self._aftermath(sight, config)
            self._in_hand |= is_between_fingers(sight) and is_held(sight)
            return expert_action(replace(sight, target=sight.target + self._offset), config)
        if self.kind == "early_release":
            return self._early_release(sight, config)
        return self._bad_grasp(sight, config)

    def _early_release(self, sight: Sight, config: SkillConfig) -> FloatArray:
        lifted = float(sight.object[2]) > sight.shape.bottom + 0.02
        if is_between_fingers(sight) and is_held(sight) and lifted and self._opening == 0:
            left = float(np.linalg.norm((sight.target - sight.hand)[:2]))
            self._way = left if self._way is None else self._way
            self._opening = int(1 - left / max(self._way, 1e-6) >= self._release_at)
        if self._opening == 0:
            return expert_action(sight, config)
        if self._opening <= self.OPENING_STEPS:
            self._opening += 1
            dropped = expert_action(sight, config)
            dropped[6] = OPEN
            return dropped
        return self._aftermath(sight, config)

    def _bad_grasp(self, sight: Sight, config: SkillConfig) -> FloatArray:
        if self._in_hand:
            return self._aftermath(sight, config)
        believed = replace(sight, object=sight.object + self._offset)
        height = float(sight.hand[2])
        # a misplaced hand may come to stand on the object: then it closes where it is
        low = height < float(sight.object[2]) + sight.shape.top + 0.025
        stuck = low and abs(height - self._last_height) < 0.0015
        self._last_height = height
        if self._closing == 0 and not is_between_fingers(believed) and not stuck:
            return expert_action(believed, config)
        self._closing += 1
        self._in_hand = self._closing > self.CLOSING_STEPS
        action = np.zeros(ACTION_DIM, dtype=np.float32)
        action[6] = CLOSE
        return action

    def _aftermath(self, sight: Sight, config: SkillConfig) -> FloatArray:
        """Go on as if the object were in the hand until it would be placed; or see truly, and recover."""
        if self.recovers:
            self._sees = True
            return expert_action(sight, config)
        if self.kind == "bad_grasp" and sight.width < OPEN_WIDTH:
            grip = np.array([0, 0, sight.shape.grip], dtype=np.float32)
            held = min(sight.width, sight.shape.width)
            return expert_action(replace(sight, object=sight.hand - grip, width=held), config)
        self.finished = True
        return expert_action(replace(sight, object=sight.target), config)


@dataclass(frozen=True)
class ExpertConfig:
    """One scripted episode."""

    max_steps: int = 136
    """Given up after so many; a multiple of the chunk of 8."""
    after_success: int = 8
    """Steps recorded after the first success, so that the released object at rest is seen, then on to a
    whole chunk; and twice as many after a deceived expert thinks that it is done."""
    fault_rate: float = 0.0
    """Share of episodes with a deliberate fault, of a kind drawn evenly."""
    fault: FaultKind | None = None
    """This kind in every episode, whatever fault_rate says."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)
    skills: SkillConfig = field(default_factory=SkillConfig)

    def __post_init__(self) -> None:
        if self.max_steps < CHUNK or self.max_steps % CHUNK:
            raise WovrError(f"max_steps {self.max_steps} is not a positive multiple of {CHUNK}")
        if not 0 <= self.fault_rate <= 1:
            raise WovrError(f"fault_rate {self.fault_rate} is not a share between 0 and 1")


def run_expert_episode(env: Any, seed: int, config: ExpertConfig) -> Episode:
    """Let the scripted expert act in a LiberoEnv from the training start `seed`; the record of it.

    The same seed and config give the same episode bit for bit. Its length is a multiple of 8, `max_steps`
    at most; `info` holds the kind of fault and whether the expert was to recover.
    """
    generator = np.random.default_rng([seed, 0x5EED])
    faulty = generator.random() < config.fault_rate
    drawn: FaultKind = FAULTS[int(generator.integers(len(FAULTS)))] if faulty else "none"
    kind = config.fault or drawn
    fault = Fault(kind, config.faults, generator)
    noise = Noise(config.noise, generator)
    frame = env.reset(seed)
    recorder = Recorder(env, frame, env.success)
    actions, successes = recorder.actions, recorder.success
    clean_actions: list[FloatArray] = []
    idle = 0
    while len(actions) < config.max_steps:
        sight = look(env)
        clean_actions.append(expert_action(sight, config.skills))
        recorder.step(noise(fault.act(sight, config.skills)))
        settled = any(successes) and len(actions) - successes.index(True) >= config.after_success
        idle += int(fault.finished)
        if (settled or idle > 2 * config.after_success) and len(actions) % CHUNK == 0:
            break
    source = "expert" if kind == "none" else "expert_fault"
    return Episode(
        id=f"{env.task.suite}-{env.task.task}-{source}-{seed}",
        task=env.task,
        seed=seed,
        source=source,
        clean_actions=np.stack(clean_actions).astype(np.float32),
        info={"fault": kind, "recovers": str(fault.recovers and kind != "none").lower()} | recorder.info(),
        **recorder.fields(),
    )
