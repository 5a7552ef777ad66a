"""Lay the starter pack out as an ordinary run folder, with a manifest of every file's sha256.

What goes in is a function of the run alone: small files whole, the three bf16 checkpoints, and as many rollouts (each
with its real replay) and real episodes as the size allows, the most telling first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

import wovr_core
from workbench.corrections import Source
from workbench.flags import AUDITOR, audit_flags, span_of_flag
from workbench.scrubber.span_log import LOG_NAME
from workbench.starter import DATA, PLACE
from workbench.starter.rounding import Rounded
from workbench.store.items import RANKS, verdict_of
from wovr_core.data.array_codecs import encode
from wovr_core.data.episode_files import SUFFIX, EpisodeSet, read_episode, read_rollout_summary, write_episode
from wovr_core.data.tensor_files import write_file
from wovr_core.errors import WovrError
from wovr_core.files import read_json, sha256_file, write_bytes, write_json

SCHEMA = 1
_FROM_SOURCE = (
    "collect", "sft", "collect_base", "evaluate_base", "world_model", "reward", "keyframes", "rl", "collect_evolved",
    "refine", "keyframes_evolved", "rl_evolved", "evaluate",
)  # fmt: skip
_FROM_ROUNDED = ("imagine", "audit")
_SMALL_FILES = ("config.json", "outputs.json", "metrics.jsonl")
_OTHERS = 60_000
"""Bytes for what is written last: rows, indices, flags."""


@dataclass(frozen=True)
class PackConfig:
    """How large the pack may become."""

    most_bytes: int = 11_900_000
    """Of all files together: it is part of the Python package."""
    real_episodes: int = 4


def write_pack(source: Path, rounded: Rounded, out: Path = DATA, config: PackConfig | None = None) -> dict[str, Any]:
    """Write the pack, replacing an older one; returns its manifest.

    Raises:
        WovrError: the models alone are larger than the pack may be, or nothing was audited.
    """
    config = config or PackConfig()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        stage = Path(temporary) / out.name
        run = stage / "run"
        _write_small_files(source, rounded, run)
        rows = list(read_json(rounded.folder / "audit" / "rows.json"))
        _write_records(source, rounded, run, rows, config)
        _write_flags(run, rounded.recipe.keyframes.divergence_threshold)
        files = {str(p.relative_to(run)): sha256_file(p) for p in sorted(run.rglob("*")) if p.is_file()}
        manifest = {
            "schema": SCHEMA,
            "wovr": wovr_core.__version__,
            "commit": commit(),
            "recipe": rounded.recipe.name,
            "source": {"run": source.name, "versions": _versions(source)},
            "models": rounded.simulator.versions(),
            "precision": dict(rounded.precision),
            "figures": figures(source, rounded, rows),
            "bytes": sum(p.stat().st_size for p in run.rglob("*") if p.is_file()),
            "files": files,
        }
        write_json(stage / "manifest.json", manifest)
        if out.exists():
            shutil.rmtree(out)
        stage.rename(out)
    return manifest


def _write_small_files(source: Path, rounded: Rounded, run: Path) -> None:
    places = {stage: source / stage for stage in _FROM_SOURCE} | {s: rounded.folder / s for s in _FROM_ROUNDED}
    for stage, folder in places.items():
        for name in _SMALL_FILES:
            if (folder / name).is_file():
                text = (folder / name).read_text()
                if name == "outputs.json":
                    text = _without_places(text, source, rounded.folder)
                write_bytes(run / stage / name, text.encode())
    for kind, place in _model_places(source, rounded).items():
        for file in sorted(getattr(rounded.simulator, kind).iterdir()):
            write_bytes(run / place / file.name, file.read_bytes())
    description = read_json(source / "run.json")
    description |= {"starter_pack": True}
    write_json(run / "run.json", description)


def _model_places(source: Path, rounded: Rounded) -> dict[str, Path]:
    """Kind -> where in a run it lies."""
    return {kind: path.relative_to(source) for kind, path in vars(rounded.exact).items()}


def _without_places(text: str, *folders: Path) -> str:
    """Paths of the machine that made the run become PLACE, which unpacking replaces."""
    for folder in sorted({str(f.absolute()) for f in folders}, key=len, reverse=True):
        text = text.replace(json.dumps(folder)[1:-1], PLACE)
    return text


def _write_records(
    source: Path, rounded: Rounded, run: Path, rows: Sequence[Mapping[str, Any]], config: PackConfig
) -> None:
    left = config.most_bytes - sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
    episodes = list(_telling_episodes(source))[: config.real_episodes]
    for stage, path in episodes[:2]:
        left -= _pack_episode(path, run / stage / "episodes")
    kept = []
    rollouts, replays = Path("imagine") / "rollouts", Path("audit") / "episodes"
    for name in telling_rollouts(rows, rounded.folder / rollouts):
        file = f"{name}{SUFFIX}"
        imagined = _pack_rollout(rounded.folder / rollouts / file, run / rollouts)
        real = _pack_episode(rounded.folder / replays / file, run / replays)
        if imagined + real + _OTHERS > left:
            (run / rollouts / file).unlink()
            (run / replays / file).unlink()
            break
        left -= imagined + real
        kept.append(name)
    if not kept:
        raise WovrError(f"no rollout fits: {left} of {config.most_bytes} bytes are left beside the models")
    for stage, path in episodes[2:]:
        size = _pack_episode(path, run / stage / "episodes")
        if size + _OTHERS > left:
            (run / stage / "episodes" / path.name).unlink()
            break
        left -= size
    for folder in (run / rollouts, run / replays):
        EpisodeSet(folder).write_index()
    write_json(run / "audit" / "rows.json", [row for row in rows if row["rollout_id"] in kept])
    short = ("rollout_id", "depth", "imagined_success", "real_success", "divergence")
    write_bytes(run / "audit" / "all_rows.json", json.dumps([{k: row[k] for k in short} for row in rows]).encode())


def telling_rollouts(rows: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Ids, the most telling first: two siblings, one of each further verdict, the two's whole group, then the rest.

    The group is the one with the most kinds of verdict, and then with siblings that imagined different ends.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = str(row["rollout_id"])
        groups.setdefault(read_rollout_summary(folder / f"{name}{SUFFIX}").group_id, []).append(row)

    def spread(members: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        imagined = sum(m["imagined_success"] for m in members)
        return len({_verdict(m) for m in members}), min(imagined, len(members) - imagined)

    order: dict[str, None] = {}
    best = max(sorted(groups), key=lambda g: spread(groups[g]))
    siblings = sorted(groups[best], key=lambda m: (_verdict(m), str(m["rollout_id"])))
    pair = {bool(m["imagined_success"]): m for m in reversed(siblings)}  # enough to be compared
    order |= dict.fromkeys(str(m["rollout_id"]) for m in pair.values())
    shown = {_verdict(m) for m in pair.values()}
    others = sorted((m for m in rows if str(m["rollout_id"]) not in order), key=lambda m: -max(m["divergence"]))
    missing = [next((m for m in others if _verdict(m) == v), None) for v in range(4) if v not in shown]
    order |= dict.fromkeys(str(m["rollout_id"]) for m in missing if m is not None)
    order |= dict.fromkeys(str(m["rollout_id"]) for m in siblings)
    order |= dict.fromkeys(str(m["rollout_id"]) for m in sorted(others, key=_verdict))
    yield from order


def _verdict(row: Mapping[str, Any]) -> int:
    """How telling its verdict is, 0 the most."""
    return RANKS[verdict_of(bool(row["imagined_success"]), bool(row["real_success"]))]


def _telling_episodes(source: Path) -> Iterator[tuple[str, Path]]:
    """A demonstration, then trials of the final and of the base policy that ended differently."""
    wanted = (("collect", True), ("evaluate", False), ("evaluate", True), ("evaluate_base", False))
    for stage, succeeded in wanted:
        found = EpisodeSet(source / stage / "episodes")
        name = next((s.id for s in found.summaries() if s.succeeded == succeeded), None)
        if name is not None:
            yield stage, next(p for p in found.paths.values() if p.stem == name)


def _pack_episode(path: Path, folder: Path) -> int:
    """Pictures, actions and success; without the simulator's states, which take as much room. Returns its size."""
    episode = replace(read_episode(path), sim_states=None, streams={})
    return write_episode(folder, episode).stat().st_size


def _pack_rollout(path: Path, folder: Path) -> int:
    """All of it, its pictures encoded without loss. Returns its size."""
    with safe_open(path, framework="numpy") as file:
        meta = json.loads(file.metadata()["wovr"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    encoded = dict(meta.get("encoded", {}))
    for name in ("frames", "context_frames"):
        if name in arrays:
            tensors, description = encode(name, arrays.pop(name))
            arrays |= tensors
            if description:
                encoded[name] = description
    return write_file(folder / path.name, arrays, meta | {"encoded": encoded}).stat().st_size


def _write_flags(run: Path, threshold: float) -> None:
    """The audit's own flags, as `wovr correct` draws them, at a fixed time: the pack is a function of the run."""
    source = Source(run / "imagine" / "rollouts", run / "audit" / "episodes")
    flags = audit_flags(source, read_json(run / "audit" / "rows.json"), threshold)
    lines = []
    for flag in flags:
        event = {"event": f"put-{flag.span}", "rollout": flag.rollout, "op": "put", "span": span_of_flag(flag)}
        lines.append(json.dumps(event | {"author": AUDITOR, "time": "2026-01-01T00:00:00+00:00"}))
    if lines:
        write_bytes(run / LOG_NAME, ("\n".join(lines) + "\n").encode())


def figures(source: Path, rounded: Rounded, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The run's headline numbers, of which every page quotes: rates as [k, n]."""

    def outputs(stage: str) -> dict[str, Any]:
        return dict(read_json(source / stage / "outputs.json")["outputs"])

    audited = dict(read_json(rounded.folder / "audit" / "outputs.json")["outputs"])
    before, after, refined = outputs("evaluate_base"), outputs("evaluate"), outputs("refine")
    learning = {s: {k: outputs(s)[k] for k in ("groups", "informative_groups")} for s in ("rl", "rl_evolved")}
    return {
        "real_success_before": [before["successes"], before["trials"]],
        "real_success_after": [after["successes"], after["trials"]],
        "outcomes_before": before["outcomes"],
        "outcomes_after": after["outcomes"],
        "audited": len(rows),
        **{key: audited[key] for key in ("false_success", "false_failure", "by_depth")},
        "quality": outputs("world_model")["quality"],
        "calibration": outputs("reward")["calibration"],
        "keyframes": {stage: outputs(stage)["reasons"] for stage in ("keyframes", "keyframes_evolved")},
        "rl": learning,
        "refine": {k: refined[k] for k in ("before", "after", "world_model_promoted", "reward_promoted")},
        "real_episodes": {s: outputs(s)["count"] for s in ("collect", "collect_base", "collect_evolved")},
    }


def _versions(source: Path) -> dict[str, str]:
    paths = {p.parent.relative_to(source): p for p in sorted(source.glob("*/*/manifest.json"))}
    return {str(place): str(read_json(path)["version"]) for place, path in paths.items()}


def commit() -> str:
    """Of the checkout that this code lies in; empty for an installed package."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
