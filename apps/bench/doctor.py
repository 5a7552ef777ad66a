"""How often the convention doctor finds each convention that was broken on purpose, and what it says of sound clips."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.bench import Row, row
from wovr_core.data.doctor import Sight, diagnose
from wovr_core.data.doctor_motion import Flow, watch
from wovr_core.files import wovr_home
from wovr_core.seeding import numpy_generator
from wovr_core.types import FloatArray, IntArray, TaskId

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
CLIPS = 20
"""Clips that the doctor is shown at a time."""
SPLITS = {"tuning": 7_000, "fresh": 90_000}
"""Split -> the first seed of its demonstrations. The doctor's thresholds were chosen on `tuning`; what is reported and
tested are `fresh` ones, which no threshold has seen."""


@dataclass(frozen=True)
class Corruption:
    """One convention broken."""

    fault: str
    """What the doctor should find."""
    change: Callable[[Sight], Sight]
    pictures: bool = False
    """Whether the pictures change, so that motion must be measured anew."""


def run(suites: Sequence[str] = SUITES, per_task: int = 3, draws: int = 25, size: int = 96) -> list[Row]:
    """Rows: share of draws of CLIPS clips in which the fault, and no other, was found; sound clips first.

    Clips are scripted demonstrations of the split `fresh`, made once and kept below WOVR_HOME. Draws share no clip as
    long as there are enough: independent ones ask for `per_task` of draws * CLIPS / 10.
    """
    rows = []
    for suite in suites:
        sights, tasks = clips_of(suite, per_task, size)
        found = measure(sights, tasks, draws)
        for name, (hits, clean, count) in found.items():
            what = "nothing reported" if name == "sound" else "detected"
            rows.append(row(f"{suite}, {name}: {what}", hits / count, "share"))
            if name != "sound":
                rows.append(row(f"{suite}, {name}: nothing else reported", clean / count, "share"))
    return rows


def measure(
    sights: Sequence[Sight], tasks: Sequence[TaskId], draws: int, clips: int = CLIPS
) -> dict[str, tuple[int, int, int]]:
    """Corruption -> (draws in which it was found, draws without any other finding, draws)."""
    sound = [watch(sight.frames) for sight in sights]
    results = {"sound": _count("", list(sights), sound, tasks, draws, clips)}
    for name, corruption in corruptions(sights, tasks).items():
        broken = [corruption.change(sight) for sight in sights]
        flows = [watch(sight.frames) for sight in broken] if corruption.pictures else sound
        results[name] = _count(corruption.fault, broken, flows, tasks, draws, clips)
    return results


def _count(
    fault: str, sights: Sequence[Sight], flows: Sequence[Flow], tasks: Sequence[TaskId], draws: int, clips: int
) -> tuple[int, int, int]:
    hits = clean = 0
    for chosen in clip_sets(len(sights), draws, clips):
        diagnosis = diagnose([sights[i] for i in chosen], tasks=tasks, flows=[flows[i] for i in chosen])
        faults = {finding.fault for finding in diagnosis.findings}
        hits += fault in faults if fault else not faults
        clean += faults <= {fault}
    return hits, clean, draws


def clip_sets(count: int, draws: int, clips: int) -> list[IntArray]:
    """`draws` sets of `clips` indices below `count` (all, if fewer): apart from each other as long as there are enough,
    then dealt out anew."""
    sets: list[IntArray] = []
    for deal in itertools.count():
        order = numpy_generator(0, "doctor", deal).permutation(count)
        sets += [order[i : i + clips] for i in range(0, max(1, count - clips + 1), clips)]
        if len(sets) >= draws:
            break
    return sets[:draws]


def corruptions(sights: Sequence[Sight], tasks: Sequence[TaskId]) -> dict[str, Corruption]:
    """Name -> corruption. Statistics of normalisation are of all the clips, as a dataset's are."""
    actions = np.concatenate([sight.actions for sight in sights])
    low, high = np.quantile(actions, 0.01, axis=0), np.quantile(actions, 0.99, axis=0)
    mean, std = actions.mean(axis=0), actions.std(axis=0)
    order = sorted(task.instruction for task in tasks)

    def act(change: Callable[[FloatArray], Any]) -> Callable[[Sight], Sight]:
        return lambda s: replace(s, actions=change(s.actions).astype(np.float32))

    def gripper(change: Callable[[Any], Any]) -> Callable[[Sight], Sight]:
        return act(lambda a: np.concatenate([a[:, :6], change(a[:, 6:])], axis=1))

    def quantiles(a: FloatArray) -> FloatArray:
        moved = np.clip(2 * (a - low) / (high - low + 1e-8) - 1, -1, 1)
        return np.where((high > low) & (np.arange(7) < 6), moved, a)  # as OpenVLA: unused ones and the gripper stay

    def deviations(a: FloatArray) -> FloatArray:
        return np.where((std > 1e-6) & (np.arange(7) < 6), (a - mean) / (std + 1e-8), a)

    def every_other(s: Sight) -> Sight:
        return replace(
            s, frames=s.frames[::2], actions=s.actions[: len(s.frames) // 2 * 2 : 2][: len(s.frames[::2]) - 1]
        )

    return {
        "gripper sign": Corruption("gripper_sign", gripper(lambda g: -g)),
        "gripper 0 to 1, 1 opens": Corruption("gripper_range", gripper(lambda g: (1 - g) / 2)),
        "turned by 180 degrees": Corruption("rotation", lambda s: replace(s, frames=s.frames[:, ::-1, ::-1]), True),
        "flipped": Corruption("rotation", lambda s: replace(s, frames=s.frames[:, ::-1]), True),
        "mirrored": Corruption("rotation", lambda s: replace(s, frames=s.frames[:, :, ::-1]), True),
        "actions one row late": Corruption("action_shift", act(lambda a: np.concatenate([a[:1], a[:-1]]))),
        "actions one row early": Corruption("action_shift", act(lambda a: np.concatenate([a[1:], a[-1:]]))),
        "actions by quantiles": Corruption("normalised_actions", act(quantiles)),
        "actions by deviations": Corruption("normalised_actions", act(deviations)),
        "tasks by the alphabet": Corruption(
            "task_order", lambda s: replace(s, task=order.index(s.instruction)) if s.instruction in order else s
        ),
        "blue for red": Corruption("channel_order", lambda s: replace(s, frames=s.frames[..., ::-1])),
        "every other picture": Corruption("frame_rate", every_other, True),
        "said to be at 10 a second": Corruption("frame_rate", lambda s: replace(s, fps=10.0)),
    }


def clips_of(
    suite: str, per_task: int, size: int, tasks: Sequence[int] = tuple(range(10)), split: str = "fresh"
) -> tuple[list[Sight], list[TaskId]]:
    """Scripted demonstrations of a suite, as far as there are rules for it, and its tasks; those that are not below
    WOVR_HOME yet are made.

    Args:
        split: one of SPLITS.
    """
    from wovr_core.data.episode_files import SUFFIX, read_episode, write_episode
    from wovr_core.envs import libero_suites
    from wovr_core.envs.expert.composition import can_compose
    from wovr_core.envs.expert.demonstrations import ExpertConfig, run_expert_episode
    from wovr_core.envs.libero import LiberoConfig, LiberoEnv

    folder = wovr_home() / "doctor_clips" / f"{suite}-{size}-{split}"
    sights = []
    for task in tasks:
        env: LiberoEnv | None = None
        for seed in range(per_task):
            path: Path = folder / f"{task}-{seed}{SUFFIX}"
            if not path.exists():
                env = env or LiberoEnv(LiberoConfig(suite=suite, size=size), task)
                if not can_compose(env.goal):
                    break  # nobody to demonstrate it
                made = run_expert_episode(env, SPLITS[split] + 13 * seed + task, ExpertConfig())
                write_episode(folder, replace(made, id=path.stem, sim_states=None, clean_actions=None))
            episode = read_episode(path)
            sights.append(Sight(episode.frames, episode.actions, episode.task.instruction, episode.task.task, 20.0))
        if env is not None:
            env.close()
    return sights, list(libero_suites.tasks(suite))
