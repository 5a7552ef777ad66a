"""Two world models: how their error grows with depth, on held-out episodes and on shared starts of imagination.

Two measures exist in a run. The stage that trained a model measured it on held-out episodes and kept a mean per
horizon: comparable where both held out the same episodes, without an interval. The audit keeps, for each imagined
rollout, its difference from what really happened at each frame: comparable as pairs over starts that both imagined
from, which are recognised by the simulator's state itself.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench.compare import rate
from workbench.run_data import RunData
from workbench.store.checkpoints import checkpoints_of
from wovr_core.data.episode_files import SUFFIX
from wovr_core.data.tensor_files import open_file
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import read_json
from wovr_core.statistics import bootstrap_interval
from wovr_core.types import CHUNK, FloatArray

_BOOTSTRAP_SEED = 20260213
_FEW_STARTS = 8
"""Below so many a bootstrap interval is too narrow, and that is said."""


@dataclass(frozen=True)
class HeldOut:
    """Quality on episodes that training did not see, per horizon."""

    episodes: tuple[str, ...]
    """Their names, with the versions of the sets that they are from."""
    solver_steps: int
    values: Mapping[int, Mapping[str, float]]
    """horizon -> {psnr, psnr_moving, ssim, frozen_psnr_moving}"""


@dataclass(frozen=True)
class Imagined:
    """One audited rollout."""

    id: str
    start: str
    """Equal for equal simulator states of one task."""
    policy: str
    divergence: FloatArray
    """(N,), mean absolute pixel difference from reality at each frame, of 255."""
    imagined_success: bool
    real_success: bool


@dataclass(frozen=True)
class ModelRecord:
    """What is known of one world model in one run."""

    id: str
    """RUN@VERSION."""
    run: str
    version: str
    title: str
    held_out: HeldOut | None = None
    rollouts: tuple[Imagined, ...] = field(default=(), repr=False)


def world_models(runs: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The world models of these runs, in short: {id, run, version, title, held_out, audited}."""
    found = []
    for name, path in runs.items():
        versions = _audited_versions(path)
        for checkpoint in checkpoints_of(path, "world_model"):
            found.append(
                {
                    "id": f"{name}@{checkpoint.version}",
                    "run": name,
                    "version": checkpoint.version,
                    "title": checkpoint.title,
                    "held_out": _held_out(path / checkpoint.stage, checkpoint.version) is not None,
                    "audited": versions.get(checkpoint.version, 0),
                }
            )
    return found


def find_model(runs: Mapping[str, Path], model_id: str) -> ModelRecord:
    """By id, with its audited rollouts. Raises UnknownNameError, CorruptFileError."""
    run, _, version = model_id.rpartition("@")
    if run in runs:
        for checkpoint in checkpoints_of(runs[run], "world_model"):
            if checkpoint.version == version:
                return ModelRecord(
                    id=model_id,
                    run=run,
                    version=version,
                    title=checkpoint.title,
                    held_out=_held_out(runs[run] / checkpoint.stage, version),
                    rollouts=tuple(_rollouts(runs[run], version)),
                )
    raise UnknownNameError("world model", model_id[:120], [model["id"] for model in world_models(runs)])


def compare_models(first: ModelRecord, second: ModelRecord) -> dict[str, Any]:
    """{first, second, held_out: {...}, imagined: {...}}, each part with its own `obstacles`."""
    sides = [{"id": m.id, "run": m.run, "version": m.version, "title": m.title} for m in (first, second)]
    return {
        "first": sides[0],
        "second": sides[1],
        "held_out": _compare_held_out(first.held_out, second.held_out),
        "imagined": _compare_imagined(first.rollouts, second.rollouts),
    }


def _compare_held_out(first: HeldOut | None, second: HeldOut | None) -> dict[str, Any]:
    if first is None or second is None:
        which = " and ".join(name for name, side in (("first", first), ("second", second)) if side is None)
        return {"obstacles": [f"the stage that made the {which} measured it on no held-out episodes"], "curves": []}
    obstacles = []
    if set(first.episodes) != set(second.episodes):
        both = len(set(first.episodes) & set(second.episodes))
        obstacles.append(
            f"they held out different episodes ({both} of {len(first.episodes)} and {len(second.episodes)} "
            "are shared), and only means were kept"
        )
    if first.solver_steps != second.solver_steps:
        obstacles.append(f"sampled in {first.solver_steps} steps, against {second.solver_steps}")
    horizons = sorted(set(first.values) & set(second.values))
    if not horizons:
        obstacles.append("they were measured at no horizon in common")
    curves = [
        {
            "horizons": sorted(side.values),
            **{
                name: [side.values[h].get(name) for h in sorted(side.values)]
                for name in ("psnr_moving", "ssim", "frozen_psnr_moving")
            },
            "episodes": len(side.episodes),
        }
        for side in (first, second)
    ]
    return {"obstacles": obstacles, "curves": curves, "horizons": horizons}


def _compare_imagined(first: Sequence[Imagined], second: Sequence[Imagined]) -> dict[str, Any]:
    groups = [_by_start(side) for side in (first, second)]
    shared = sorted(groups[0].keys() & groups[1].keys())
    answer: dict[str, Any] = {
        "obstacles": [], "notes": [], "rollouts": [len(first), len(second)], "shared": len(shared),
        "starts": [len(group) for group in groups], "curves": [], "difference": None,
        "false_success": [_false_success(side) for side in (first, second)], "pairs": [],
    }  # fmt: skip
    for name, side in (("first", first), ("second", second)):
        if not side:
            answer["obstacles"].append(f"no imagined rollout of the {name} was audited")
    each = [[_mean([r.divergence for r in found]) for found in group.values()] for group in groups]
    answer["curves"] = [_curve(side) for side in each]  # over starts: siblings are not independent
    if not shared and not answer["obstacles"]:
        answer["obstacles"].append(
            f"they imagined from no start in common ({len(groups[0])} starts against {len(groups[1])}): "
            "their curves stand side by side, but a difference would mix models with starts"
        )
    if answer["obstacles"]:
        return answer
    policies = {r.policy for side in (first, second) for r in side}
    if len(policies) > 1:
        answer["notes"].append("different policies acted, so the actions from a shared start differ too")
    if len(shared) < _FEW_STARTS:
        starts = "one start is" if len(shared) == 1 else f"{len(shared)} starts are"
        answer["notes"].append(f"only {starts} shared: no interval, or one that is too narrow to lean on")
    curves = [[_mean([r.divergence for r in group[start]]) for start in shared] for group in groups]
    answer["curves"] = [_curve(side) for side in curves]
    answer["difference"] = _difference(*curves)
    answer["pairs"] = [
        {
            "first": groups[0][start][0].id,
            "second": groups[1][start][0].id,
            "errors": [float(c[i].mean()) for c in curves],
        }
        for i, start in enumerate(shared)
    ]
    answer["pairs"].sort(key=lambda pair: -abs(pair["errors"][1] - pair["errors"][0]))
    return answer


def _depths(curves: Sequence[FloatArray]) -> list[int]:
    longest = max((len(c) for c in curves), default=1)
    return list(range(CHUNK, longest, CHUNK))


def _curve(curves: Sequence[FloatArray]) -> dict[str, list[float | None]]:
    """{depths, mean, low, high, n}: the mean over the starts that reach a depth, with a bootstrap interval."""
    answer: dict[str, list[float | None]] = {"depths": [], "mean": [], "low": [], "high": [], "n": []}
    for depth in _depths(curves):
        _append(answer, depth, [float(c[depth]) for c in curves if len(c) > depth])
    return answer


def _difference(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> dict[str, list[float | None]]:
    """As `_curve`, of second minus first at each shared start: below zero the second is nearer to reality."""
    answer: dict[str, list[float | None]] = {"depths": [], "mean": [], "low": [], "high": [], "n": []}
    for depth in _depths([*first, *second]):
        pairs = zip(first, second, strict=True)
        _append(answer, depth, [float(b[depth] - a[depth]) for a, b in pairs if min(len(a), len(b)) > depth])
    return answer


def _append(answer: dict[str, list[float | None]], depth: int, values: Sequence[float]) -> None:
    if not values:
        return
    low: float | None = None
    high: float | None = None
    if len(values) > 1:  # one start tells nothing of others
        low, high = bootstrap_interval(values, np.random.default_rng(_BOOTSTRAP_SEED), draws=1000)
    row = {"depths": depth, "mean": float(np.mean(values)), "low": low, "high": high, "n": len(values)}
    for name, value in row.items():
        answer[name].append(value)


def _mean(curves: Sequence[FloatArray]) -> FloatArray:
    """Of siblings from one start, as far as all of them reach."""
    length = min(len(c) for c in curves)
    return np.asarray(np.mean([c[:length] for c in curves], axis=0), dtype=np.float32)


def _by_start(rollouts: Sequence[Imagined]) -> dict[str, list[Imagined]]:
    found: dict[str, list[Imagined]] = defaultdict(list)
    for rollout in rollouts:
        found[rollout.start].append(rollout)
    return dict(found)


def _false_success(rollouts: Sequence[Imagined]) -> dict[str, Any]:
    imagined = [r for r in rollouts if r.imagined_success]
    return rate(sum(not r.real_success for r in imagined), len(imagined))


def _held_out(stage: Path, version: str) -> HeldOut | None:
    try:
        outputs, record = read_json(stage / "outputs.json")["outputs"], read_json(stage / "config.json")
        if outputs.get("version") != version:
            return None
        quality, sets = outputs["quality"], str(record["inputs"]["episodes"]).split(",")
        names = []
        for name in outputs["held_out"]:
            index, _, rest = str(name).partition("/")
            names.append(f"{sets[int(index)] if index.isdigit() and int(index) < len(sets) else index}/{rest}")
        keys = [k for k in ("psnr", "psnr_moving", "ssim", "frozen_psnr_moving") if k in quality]
        values = {int(h): {k: float(quality[k][i]) for k in keys} for i, h in enumerate(quality["horizons"])}
        return HeldOut(tuple(names), int(record["config"]["solver_steps"]), values)
    except (WovrError, OSError, KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


def _audited_versions(run: Path) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    try:
        rows = RunData(run).audit_rows()
        for row in rows:
            with open_file(rollout_path(run, str(row["rollout_id"])), "rollout") as file:
                counts[str(file.meta["versions"].get("world_model", ""))] += 1
    except (WovrError, OSError, KeyError, TypeError):
        return dict(counts)
    return dict(counts)


def _rollouts(run: Path, version: str) -> list[Imagined]:
    found = []
    for row in RunData(run).audit_rows():
        path = rollout_path(run, str(row["rollout_id"]))
        with open_file(path, "rollout") as file:
            meta = file.meta
            if meta["versions"].get("world_model") != version:
                continue
            state = np.ascontiguousarray(file.array("sim_states"))
        task = f"{meta['suite']}/{meta['task']}"
        start = hashlib.sha256(task.encode() + b"\0" + state.tobytes()).hexdigest()
        found.append(
            Imagined(
                id=str(row["rollout_id"]),
                start=start,
                policy=str(meta["versions"].get("policy", "")),
                divergence=np.asarray(row["divergence"], dtype=np.float32),
                imagined_success=bool(row["imagined_success"]),
                real_success=bool(row["real_success"]),
            )
        )
    return found


def rollout_path(run: Path, rollout_id: str) -> Path:
    """An audited rollout's file. The id must have been looked up among `ModelRecord.rollouts`."""
    return run / "imagine" / "rollouts" / f"{rollout_id}{SUFFIX}"
