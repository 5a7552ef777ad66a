"""A set of keyframes in one safetensors file: the starts that imagination draws from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wovr_core.errors import CorruptFileError
from wovr_core.files import fingerprint, write_bytes
from wovr_core.types import Keyframe, Start, TaskId

SCHEMA = 1


def write_keyframes(path: Path, keyframes: Sequence[Keyframe]) -> str:
    """Write atomically; returns the set's version."""
    if not keyframes:
        raise ValueError("no keyframes to write")
    rows = [
        {
            "suite": k.task.suite,
            "task": k.task.task,
            "instruction": k.task.instruction,
            "episode_id": k.start.episode_id,
            "step": k.start.step,
            "reason": k.reason,
        }
        for k in keyframes
    ]
    states = [np.empty(0) if k.sim_state is None else k.sim_state for k in keyframes]
    arrays: dict[str, np.ndarray] = {
        "context_frames": np.stack([k.context_frames for k in keyframes]),
        "context_actions": np.stack([k.context_actions for k in keyframes]),
        # Tasks differ in the length of their states: they lie end to end, beside their lengths (0: there was none).
        "sim_states": np.concatenate(states),
        "state_lengths": np.array([len(state) for state in states], dtype=np.int64),
    }
    data = save(arrays, metadata={"wovr": json.dumps({"schema": SCHEMA, "keyframes": rows})})
    write_bytes(path, data)
    return fingerprint(rows)


def read_keyframes(path: Path) -> list[Keyframe]:
    """Raises CorruptFileError naming the file."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {})["wovr"])
            if meta["schema"] != SCHEMA:
                raise CorruptFileError(f"{path} has keyframe format {meta['schema']}, this version reads {SCHEMA}")
            frames, actions = file.get_tensor("context_frames"), file.get_tensor("context_actions")
            flat, lengths = file.get_tensor("sim_states"), file.get_tensor("state_lengths")
        states = np.split(flat, np.cumsum(lengths)[:-1])
        return [
            Keyframe(
                task=TaskId(row["suite"], row["task"], row["instruction"]),
                start=Start(row["episode_id"], row["step"]),
                reason=row["reason"],
                context_frames=frames[i],
                context_actions=actions[i],
                sim_state=states[i] if len(states[i]) else None,
            )
            for i, row in enumerate(meta["keyframes"])
        ]
    except (SafetensorError, OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a keyframe file ({error}); run `wovr run keyframes` again") from error
