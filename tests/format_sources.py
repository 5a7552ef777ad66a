"""Small, sound datasets of each foreign format, for tests of readers and for what is made of them by damage."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wovr_core.types import Episode, TaskId

TASK = TaskId("libero_object", 0, "pick up the alphabet soup and place it in the basket")


def small_episode(name: str = "e0", length: int = 4, size: int = 16, seed: int = 0) -> Episode:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (length, 7)).astype(np.float32)
    actions[:, 6] = np.where(np.arange(length) < length // 2, -1, 1)
    success = np.zeros(length + 1, bool)
    success[-1] = True
    ramp = np.linspace(0, 200, size).astype(np.uint8)
    frames = np.zeros((length + 1, size, size, 3), np.uint8)
    frames[..., 0], frames[..., 1] = ramp[None, None], ramp[None, :, None]
    frames[..., 2] = 10 * np.arange(length + 1)[:, None, None]
    return Episode(name, TASK, 3, "expert", frames, actions, success)


def write_libero(path: Path, episodes: Sequence[Episode], original: bool = True) -> Path:
    """As LIBERO's script writes (row t shows what action t led to), or as OpenVLA's (what it was taken at)."""
    import h5py

    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        if original:
            data.attrs["problem_info"] = json.dumps({"language_instruction": episodes[0].task.instruction})
            data.attrs["bddl_file_name"] = f"bddl_files/{episodes[0].task.suite}/x.bddl"
        for i, episode in enumerate(episodes):
            group = data.create_group(f"demo_{i}")
            raw = episode.frames[:, ::-1, ::-1]
            rows = raw[1:] if original else raw[:-1]
            group.create_dataset("actions", data=episode.actions.astype(np.float64))
            group.create_dataset("obs/agentview_rgb", data=rows)
            group.create_dataset("obs/eye_in_hand_rgb", data=rows // 2)
            done = np.zeros(len(rows), np.uint8)
            done[-1] = 1
            group.create_dataset("dones", data=done)
            group.create_dataset("rewards", data=done)
    return path


def write_wmpo(path: Path, episodes: Sequence[Episode]) -> Path:
    with tarfile.open(path, "w") as archive:
        for i, episode in enumerate(episodes):
            meta = {"complete": episode.succeeded, "finish_step": episode.length - 1, "unique_id": f"u{i}",
                    "instruction": episode.task.instruction}  # fmt: skip
            parts = {"video.npy": npy(episode.frames[:-1]), "action.npy": npy(episode.actions),
                     "meta.json": json.dumps(meta).encode()}  # fmt: skip
            for part, data in parts.items():
                member = tarfile.TarInfo(f"{i:06d}.{part}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype == object)
    return buffer.getvalue()
