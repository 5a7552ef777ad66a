"""Demonstrations with flaws: the scripted expert under noise and deliberate faults, recorded as an Episode.

The executed action is what the (perhaps deceived) expert wanted plus noise; the clean label beside it is
what the expert, seeing truly, would have done at that very instant. So noise widens what imitation sees
without teaching it, and a faulty episode is a failure to learn from, with right answers beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wovr_core.envs.expert.composition import compose, expert_action
from wovr_core.envs.expert.faults import FAULTS, Fault, FaultConfig, FaultKind, picks_of
from wovr_core.envs.recording import Recorder
from wovr_core.errors import WovrError
from wovr_core.types import CHUNK, Episode, FloatArray


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
class ExpertConfig:
    """One scripted episode."""

    max_steps: int = 136
    """Given up after so many for each subgoal of the task; a multiple of the chunk of 8."""
    after_success: int = 8
    """Steps recorded after the first success, so that the released object at rest is seen, then on to a
    whole chunk; and twice as many after a deceived expert thinks that it is done."""
    fault_rate: float = 0.0
    """Share of episodes with a deliberate fault, of a kind drawn evenly; none where nothing is picked up."""
    fault: FaultKind | None = None
    """This kind in every episode, whatever fault_rate says."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    faults: FaultConfig = field(default_factory=FaultConfig)

    def __post_init__(self) -> None:
        if self.max_steps < CHUNK or self.max_steps % CHUNK:
            raise WovrError(f"max_steps {self.max_steps} is not a positive multiple of {CHUNK}")
        if not 0 <= self.fault_rate <= 1:
            raise WovrError(f"fault_rate {self.fault_rate} is not a share between 0 and 1")


def run_expert_episode(env: Any, seed: int, config: ExpertConfig) -> Episode:
    """Let the scripted expert act in a LiberoEnv from the training start `seed`; the record of it.

    The same seed and config give the same episode bit for bit. Its length is a multiple of 8, `max_steps`
    per subgoal at most; `info` holds the kind of fault and whether the expert was to recover.

    Raises:
        WovrError: the task is beyond the expert, or the kind of fault has no place in it; says why.
    """
    generator = np.random.default_rng([seed, 0x5EED])
    faulty = generator.random() < config.fault_rate and picks_of(env)
    drawn: FaultKind = FAULTS[int(generator.integers(len(FAULTS)))] if faulty else "none"
    kind = config.fault or drawn
    fault = Fault(kind, config.faults, env, generator)
    noise = Noise(config.noise, generator)
    frame = env.reset(seed)
    recorder = Recorder(env, frame, env.success)
    actions, successes = recorder.actions, recorder.success
    clean_actions: list[FloatArray] = []
    idle = 0
    longest = config.max_steps * len(compose(env.goal))
    while len(actions) < longest:
        clean_actions.append(expert_action(env))
        recorder.step(noise(clean_actions[-1] if fault.sees else fault.act(env)))
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
