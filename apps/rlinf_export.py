"""`wovr export rlinf`: what RLinf's Wan environment needs of a run: starts, models where they fit, a config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.formats.conventions import resize
from wovr_core.data.formats.rlinf_dataset import RLinfStart, check_enough, plain_start, write_start
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.errors import WovrError
from wovr_core.files import write_bytes, write_json

_KEYFRAMES = ("keyframes_evolved", "keyframes")
"""Stages of a run, the best first."""


@dataclass
class RLinfExport:
    """What was written."""

    plain: int = 0
    keyframes: int = 0
    notes: list[str] = field(default_factory=list)


def write(run: Path, episodes: Path, out: Path, environments: int, size: int, policy: str) -> RLinfExport:
    """Write `out/dataset`, RLinf's configuration, and the world model where RLinf can read it.

    Args:
        episodes: whose first frames become plain starts; each keyframe of the run becomes a file of five frames.
        policy: the OpenVLA-OFT checkpoint, as RLinf's machine sees it.
        size: H = W of the pictures; RLinf's Wan models want 256.
    Raises:
        WovrError: fewer starts than parallel environments; `out` holds something else.
    """
    record = out / "wovr_export.json"
    if out.exists() and any(out.iterdir()) and not record.exists():
        raise WovrError(f"{out} is not empty: choose another --out")
    paths = EpisodeSet(episodes)
    keyframes = next((p for p in (run / stage / "keyframes.safetensors" for stage in _KEYFRAMES) if p.is_file()), None)
    starts = read_keyframes(keyframes) if keyframes else []
    check_enough(len(paths) + len(starts), environments)
    write_json(record, {"run": run.name, "environments": environments, "size": size})
    dataset, done = out / "dataset", RLinfExport()

    def all_starts() -> Iterator[RLinfStart]:
        for episode in paths:
            yield plain_start(resize(episode.frames[:1], size)[0], episode.task.instruction)
        for start in starts:
            yield RLinfStart(start.task.instruction, resize(start.context_frames, size), start.context_actions)

    for index, start in enumerate(all_starts()):
        write_start(dataset, index, start)
        done.keyframes += start.keyframe
        done.plain += not start.keyframe
    first = next(iter(paths))
    _write_config(out, first.task.suite, policy, environments, size, bool(starts))
    if first.frames.shape[1] != size:
        done.notes.append(f"pictures were scaled from {first.frames.shape[1]} to {size} pixels: collect at {size} px "
                          "(--set env.size) for sharp ones")  # fmt: skip
    if not starts:
        done.notes.append("the run has no keyframes: only first frames were written; `wovr run keyframes` makes some")
    done.notes += _write_models(run, out)
    return done


def _write_config(out: Path, suite: str, policy: str, environments: int, size: int, keyframes: bool) -> None:
    """RLinf's whole configuration, for as many environments as there are starts for."""
    import yaml

    from wovr_core.rlinf import rlinf_config

    values = rlinf_config(str(out), suite, policy)
    values["env"]["train"] |= {
        "total_num_envs": environments,
        "enable_kir": keyframes,
        "image_size": [size, size],
    }
    text = yaml.safe_dump(values, sort_keys=False)
    write_bytes(out / f"wan_{suite}_grpo.yaml", text.encode())


def _write_models(run: Path, out: Path) -> list[str]:
    """The run's world model where it is of the published kind and size; what was left out, and why."""
    from wovr_core.model_files import load_world_model
    from wovr_core.rlinf import write_rlinf_weights

    models = [run / stage / "world_model" for stage in ("refine", "world_model")]
    model = next((path for path in models if path.is_dir()), None)
    notes = ["reward model: ours is of another kind than RLinf's; put its resnet_rm.pth beside dataset/"]
    if model is None:
        return ["world model: the run has none; put RLinf's own beside dataset/", *notes]
    try:
        write_rlinf_weights(out, load_world_model(model)[0])
    except WovrError as error:
        return [f"world model: {error}", *notes]
    return notes
