"""Rollouts and episodes as animated pictures: GIF, which every browser plays and Pillow writes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workbench.film_strips import upright
from workbench.store.items import verdict_of
from workbench.tracking.stages import StageView
from wovr_core.data.episode_files import EpisodeSet, read_episode, read_rollout
from wovr_core.files import read_json
from wovr_core.types import FPS, Frames


@dataclass(frozen=True)
class Clip:
    """One animation."""

    name: str
    caption: str
    frames: Frames
    """(T, H, W, 3), upright."""

    def gif(self, scale: int = 2) -> bytes:
        return gif_bytes(self.frames, scale)


def gif_bytes(frames: Frames, scale: int = 2, fps: int = FPS) -> bytes:
    """Frames (T, H, W, 3) as an endless GIF; each pixel `scale` times as large. All share one palette of 256."""
    sample = frames[np.linspace(0, len(frames) - 1, min(16, len(frames))).astype(int)]
    palette = Image.fromarray(sample.reshape(-1, *frames.shape[2:])).quantize(256)
    size = (frames.shape[2] * scale, frames.shape[1] * scale)
    pictures = [
        Image.fromarray(frame)
        .quantize(palette=palette, dither=Image.Dither.NONE)
        .resize(size, Image.Resampling.NEAREST)
        for frame in frames
    ]
    buffer = io.BytesIO()
    timing = {"duration": round(1000 / fps), "loop": 0}
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], optimize=False, **timing)
    return buffer.getvalue()


def clips_of(stage: StageView, count: int) -> list[Clip]:
    """Up to `count` clips of a finished stage, spread evenly over its files; an audit's false verdicts come first."""
    if stage.outputs is None or count < 1:
        return []
    if stage.kind == "audit":
        return _audit_clips(stage, stage.outputs, count)
    for key in ("rollouts", "episodes"):
        folder = stage.file(stage.outputs[key]) if isinstance(stage.outputs.get(key), str) else None
        if folder is not None and folder.is_dir():
            paths = list(EpisodeSet(folder).paths.values())
            return [_rollout_clip(p) if key == "rollouts" else _episode_clip(p) for p in _spread(paths, count)]
    return []


def _spread(paths: list[Path], count: int) -> list[Path]:
    return [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(count, len(paths)))] if paths else []


def _rollout_clip(path: Path) -> Clip:
    rollout = read_rollout(path)
    outcome = "imagined success" if rollout.imagined_success else "no success imagined"
    caption = f"{rollout.id}: {rollout.task.instruction}; {outcome}, highest p_success {rollout.p_success.max():.2f}"
    return Clip(rollout.id, caption, upright(rollout.frames))


def _episode_clip(path: Path) -> Clip:
    episode = read_episode(path)
    outcome = f"success at step {episode.first_success}" if episode.succeeded else "no success"
    return Clip(episode.id, f"{episode.id}: {episode.task.instruction}; {outcome}", upright(episode.frames))


def _audit_clips(stage: StageView, outputs: dict[str, Any], count: int) -> list[Clip]:
    """Imagined on the left, real on the right."""
    rows, episodes = stage.file(outputs["rows"]), stage.file(outputs["episodes"])
    rollouts = stage.path.parent / "imagine" / "rollouts"
    if rows is None or episodes is None or not rollouts.is_dir():
        return []
    imagined, real = EpisodeSet(rollouts).paths, EpisodeSet(episodes).paths
    known = [r for r in read_json(rows) if r["rollout_id"] in imagined and r["rollout_id"] in real]
    known.sort(key=lambda r: (r["imagined_success"] == r["real_success"], not r["imagined_success"], r["rollout_id"]))
    clips = []
    for row in known[:count]:
        name = row["rollout_id"]
        left, right = read_rollout(imagined[name]).frames, read_episode(real[name]).frames
        length = min(len(left), len(right))
        both = np.concatenate([upright(left[:length]), upright(right[:length])], axis=2)
        what = verdict_of(row["imagined_success"], row["real_success"]).replace("_", " ")
        clips.append(Clip(name, f"{name}: {what}; imagined left, real right", both))
    return clips
