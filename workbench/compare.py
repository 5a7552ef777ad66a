"""Two policies on the same starts, and two runs' settings: what differs, and whether it may be compared at all.

An evaluation's trial is a task's initial state, of LIBERO's own list; two evaluations share a trial where both tried
it in the same environment for as many actions. Only shared trials are compared, as pairs (McNemar's exact test,
Newcombe's interval, see wovr_core.statistics). What is not shared is told, and where pairing would be a lie it is
refused.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.store.checkpoints import titles_in
from wovr_core.data.episode_files import SUFFIX
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import read_json
from wovr_core.statistics import PairedComparison, compare_paired, proportion_interval

Trial = tuple[int, int]
"""(task's index in the suite, initial state)."""

_SETTING = re.compile(r"(\w+)=('[^']*'|\([^)]*\)|[^,()]+)")
NOT_SET = "not set"
_BESIDE = frozenset({"streams"})
"""Settings of the environment that change nothing in a trial."""


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation of one policy."""

    id: str
    """RUN/STAGE."""
    run: str
    stage: str
    policy: str
    """The checkpoint's version."""
    title: str
    """As people call the policy."""
    env: Mapping[str, str]
    """Setting -> value as Python writes it; the suite among them."""
    seed: str
    temperature: float
    max_steps: int
    outcomes: Mapping[Trial, bool]

    @property
    def successes(self) -> int:
        return sum(self.outcomes.values())

    @property
    def suite(self) -> str:
        return self.env.get("suite", "").strip("'")

    def episode(self, trial: Trial) -> str:
        """Name of the trial's episode, as the stage wrote it."""
        return f"{self.suite}-{trial[0]}-init{trial[1]:02d}"

    def summary(self) -> dict[str, Any]:
        """JSON: everything but single trials' files."""
        tasks: dict[int, list[int]] = {}
        for (task, _), success in sorted(self.outcomes.items()):
            count = tasks.setdefault(task, [0, 0])
            count[0] += success
            count[1] += 1
        grid: dict[str, list[bool]] = {}
        for (task, _), success in sorted(self.outcomes.items()):
            grid.setdefault(str(task), []).append(success)
        return {
            "id": self.id, "run": self.run, "stage": self.stage, "policy": self.policy, "title": self.title,
            "suite": self.suite, "seed": self.seed, "temperature": self.temperature, "max_steps": self.max_steps,
            "rate": rate(self.successes, len(self.outcomes)), "grid": grid,
            "tasks": [{"task": task, **rate(*count)} for task, count in tasks.items()],
        }  # fmt: skip


@dataclass(frozen=True)
class PolicyComparison:
    """Of two evaluations; `paired` is None where `obstacles` forbids it."""

    first: Evaluation
    second: Evaluation
    shared: tuple[Trial, ...]
    only_first: tuple[Trial, ...]
    only_second: tuple[Trial, ...]
    obstacles: tuple[str, ...]
    """Why they may not be compared as pairs."""
    notes: tuple[str, ...]
    """What else differs, which pairing survives."""
    paired: PairedComparison | None

    @property
    def flipped(self) -> list[tuple[Trial, bool]]:
        """(trial, whether it is the second that succeeded) of the shared trials whose outcomes differ."""
        if self.paired is None:
            return []
        both = ((t, self.first.outcomes[t], self.second.outcomes[t]) for t in self.shared)
        return [(t, b) for t, a, b in both if a != b]


def rate(successes: int, trials: int) -> dict[str, Any]:
    """{successes, trials, value, low, high}: never a rate without its n and Wilson's 95 % interval."""
    low, high = proportion_interval(successes, trials)
    value = successes / trials if trials else None
    return {"successes": successes, "trials": trials, "value": value, "low": low, "high": high}


def evaluations(runs: Mapping[str, Path]) -> list[Evaluation]:
    """Every finished evaluation of these runs, in the order of the runs, then of the pipeline; others by their time.

    Args:
        runs: name -> folder.
    """
    from wovr_core.pipeline import STAGES

    place = {stage: n for n, stage in enumerate(STAGES)}  # files that came from elsewhere have any times

    def order(outputs: Path) -> tuple[int, int, str]:
        stage = outputs.parent.name
        return (place.get(stage, len(place)), 0 if stage in place else outputs.stat().st_mtime_ns, stage)

    found = []
    for name, path in runs.items():
        titles = titles_in(path)
        stages = sorted(path.glob("*/outputs.json"), key=order)
        found += [e for p in stages if (e := _read(name, p.parent, titles)) is not None]
    return found


def find_evaluation(runs: Mapping[str, Path], evaluation_id: str) -> Evaluation:
    """By id. Raises UnknownNameError."""
    run, _, stage = evaluation_id.partition("/")
    if run in runs and re.fullmatch(r"[A-Za-z0-9_.-]+", stage) and stage.strip("."):
        found = _read(run, runs[run] / stage, titles_in(runs[run]))
        if found is not None:
            return found
    raise UnknownNameError("evaluation", evaluation_id[:120], [e.id for e in evaluations(runs)])


def compare_policies(first: Evaluation, second: Evaluation) -> PolicyComparison:
    """Pair what can be paired.

    Different policies' sampling temperature or seed is told, not forbidden: the start is the same. A different
    environment or time limit makes another trial of it, and so forbids pairing.
    """
    mine, others = set(first.outcomes), set(second.outcomes)
    shared = tuple(sorted(mine & others))
    obstacles = [
        f"the environments differ: {key} = {a}, against {b}"
        for key, a, b in _differing(_filled(first.env), _filled(second.env))
        if key not in _BESIDE
    ]
    if first.max_steps != second.max_steps:
        obstacles.append(f"one gave its policy {first.max_steps} actions, the other {second.max_steps}")
    if not shared and not obstacles:
        obstacles.append("they tried no initial state of a task in common")
    notes = []
    if first.policy == second.policy:
        notes.append(f"both are of the same policy, {first.policy}")
    if first.temperature != second.temperature:
        notes.append(f"sampled at temperature {first.temperature:g}, against {second.temperature:g}")
    if first.seed != second.seed:
        notes.append(f"sampled with seed {first.seed}, against {second.seed}: starts are shared, draws are not")
    for name, left in (("first", mine - others), ("second", others - mine)):
        if left and shared:
            notes.append(f"{len(left)} of the {name}'s trials have no partner and are left out")
    pairs = None
    if not obstacles:
        pairs = compare_paired([first.outcomes[t] for t in shared], [second.outcomes[t] for t in shared])
    return PolicyComparison(
        first, second, shared, tuple(sorted(mine - others)), tuple(sorted(others - mine)), tuple(obstacles),
        tuple(notes), pairs,
    )  # fmt: skip


def comparison_json(found: PolicyComparison) -> dict[str, Any]:
    """For a page: rates over the shared trials where they are paired, else over each one's own."""
    sides = []
    for evaluation in (found.first, found.second):
        trials = found.shared if found.paired else tuple(evaluation.outcomes)
        sides.append(evaluation.summary() | {"rate": rate(sum(evaluation.outcomes[t] for t in trials), len(trials))})
    answer: dict[str, Any] = {
        "first": sides[0], "second": sides[1], "obstacles": list(found.obstacles), "notes": list(found.notes),
        "shared": len(found.shared), "only_first": len(found.only_first), "only_second": len(found.only_second),
        "paired": None, "flipped": [], "pairs": [],
    }  # fmt: skip
    pairs = found.paired
    if pairs is not None:
        low, high = pairs.interval()
        answer["paired"] = {
            "both": pairs.both, "only_first": pairs.only_first, "only_second": pairs.only_second,
            "neither": pairs.neither, "trials": pairs.trials, "difference": pairs.difference,
            "low": low, "high": high, "p_value": pairs.p_value, "text": str(pairs),
        }  # fmt: skip
        flips = dict(found.flipped)
        answer["pairs"] = [
            {"task": t, "init": i, "first": found.first.outcomes[t, i], "second": found.second.outcomes[t, i]}
            for t, i in found.shared
        ]
        answer["flipped"] = [{"task": t, "init": i, "gained": gained} for (t, i), gained in flips.items()]
    return answer


def episode_path(runs: Mapping[str, Path], evaluation: Evaluation, trial: Trial) -> Path:
    """The file of one trial. Raises UnknownNameError for a trial that was not made."""
    if trial not in evaluation.outcomes:
        raise UnknownNameError("trial", str(trial), [str(t) for t in sorted(evaluation.outcomes)][:20])
    return runs[evaluation.run] / evaluation.stage / "episodes" / f"{evaluation.episode(trial)}{SUFFIX}"


@dataclass(frozen=True)
class Difference:
    """One setting in which two runs differ."""

    key: str
    first: str
    second: str
    """As JSON would write them; NOT_SET where one of them does not have it."""


def config_difference(first: Path, second: Path) -> list[Difference]:
    """Dotted keys of run.json's configuration, its recipe, versions of packages and machine: only what differs.

    Raises CorruptFileError.
    """
    parts = ("recipe", "config", "wovr", "packages", "python", "machine")
    flat = []
    for run in (first, second):
        record = read_json(run / "run.json")
        if not isinstance(record, dict):
            raise WovrError(f"{run / 'run.json'} does not describe a run")
        flat.append(_flat({part: record.get(part) for part in parts}))
    return [Difference(key.removeprefix("config."), a, b) for key, a, b in _differing(*flat)]


def _read(run: str, stage: Path, titles: Mapping[tuple[str, str], str]) -> Evaluation | None:
    """None: it is no evaluation, or not one that this version understands."""
    try:
        record, outputs = read_json(stage / "config.json"), read_json(stage / "outputs.json")["outputs"]
        if record["stage"] != "evaluate":
            return None
        config, inputs, policy = record["config"], record["inputs"], str(outputs["policy"])
        outcomes = {
            (int(task), i): bool(success)
            for task, found in outputs["outcomes"].items()
            for i, success in enumerate(found)
        }
        return Evaluation(
            id=f"{run}/{stage.name}",
            run=run,
            stage=stage.name,
            policy=policy,
            title=titles.get(("policy", policy), f"policy · {policy[:8]}"),
            env=dict(_SETTING.findall(str(inputs["env"]).partition("(")[2])),
            seed=str(inputs["seed"]),
            temperature=float(config["temperature"]),
            max_steps=int(config["max_steps"]),
            outcomes=outcomes,
        )
    except (WovrError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _filled(env: Mapping[str, str]) -> dict[str, str]:
    """With the defaults of settings that were added since it was written."""
    from wovr_core.envs.libero import LiberoConfig

    return {f.name: repr(getattr(LiberoConfig(), f.name)) for f in dataclasses.fields(LiberoConfig)} | dict(env)


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[tuple[str, str, str]]:
    keys = [*first, *(key for key in second if key not in first)]
    pairs = ((key, first.get(key, NOT_SET), second.get(key, NOT_SET)) for key in keys)
    return [(key, a, b) for key, a, b in pairs if a != b]


def _flat(value: Any, key: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for name in sorted(value):
            found |= _flat(value[name], f"{key}.{name}" if key else str(name))
        return found
    if isinstance(value, float) and math.isfinite(value):
        return {key: f"{value:g}" if float(f"{value:g}") == value else repr(value)}
    return {key: json.dumps(value)}
