"""Weights that somebody trained elsewhere, as one safetensors file, into a `TinyVLA`; or why they do not fit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from wovr_core.errors import CheckpointMismatchError, CorruptFileError
from wovr_core.policy.tiny_vla import TinyVLA, TinyVLAConfig, build

_NAMED = 2
"""Examples of each fault in a message."""


def load_own(path: Path, config: TinyVLAConfig | None = None, prefix: str = "") -> TinyVLA:
    """The policy in evaluation mode. Save it with `model_files.save_model` to use it in a run.

    Args:
        path: a .safetensors file; its tensors are converted to the policy's number format.
        prefix: what its names begin with, such as "module." or "model."; tensors without it are left aside.

    Raises:
        CorruptFileError: no such file, or no safetensors.
        CheckpointMismatchError: names or shapes that do not fit; the message says which, and what may be meant.
    """
    if not path.is_file():
        raise CorruptFileError(f"there are no weights at {path}")
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(f"{path} is no safetensors file ({error}); pickled weights are not read") from error
    tensors = {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}
    policy = build(config or TinyVLAConfig())
    wanted = policy.state_dict()
    faults = _faults(tensors, wanted)
    if faults:
        hint = "" if prefix else _hint(found, wanted)
        raise CheckpointMismatchError(f"{path.name} does not fit TinyVLA: {'; '.join(faults)}{hint}")
    policy.load_state_dict({name: tensors[name].to(wanted[name].dtype) for name in wanted})
    return policy.eval()


def _faults(tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> list[str]:
    missing, unknown = [n for n in wanted if n not in tensors], [n for n in tensors if n not in wanted]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(wanted)} tensors are missing ({_examples(missing)})")
    if unknown:
        close = difflib.get_close_matches(unknown[0], missing, n=1, cutoff=0.6)
        meant = f", did you mean {close[0]!r}?" if close else ""
        faults.append(f"{len(unknown)} are unknown ({_examples(unknown)}{meant})")
    differing = [n for n in wanted if n in tensors and tensors[n].shape != wanted[n].shape]
    if differing:
        shapes = [f"{n} is {tuple(tensors[n].shape)}, not {tuple(wanted[n].shape)}" for n in differing[:_NAMED]]
        faults.append(f"{len(differing)} of another shape ({', '.join(shapes)}: was it built with another config?)")
    return faults


def _hint(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """Whether all names carry one prefix, as wrappers for distributed training or compilation leave it."""
    anchor = next(iter(wanted))
    prefixes = {name.removesuffix(anchor) for name in found if name.endswith("." + anchor)}
    for prefix in sorted(prefixes):
        if all(prefix + name in found for name in wanted):
            return f"; all are there behind a prefix: say prefix={prefix!r}"
    return ""


def _examples(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
