"""Checkpoints: a folder of safetensors and JSON that exists only when it is complete.

Order of writing: files -> fsync -> manifest with sha256 -> fsync -> rename -> fsync of the parent. A folder
without a valid manifest is not a checkpoint. No pickle is written or read.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from wovr_core.errors import CheckpointMismatchError, CorruptFileError
from wovr_core.files import (
    explain_disk_errors,
    fingerprint,
    fsync_directory,
    read_json,
    sha256_file,
    write_json,
)

SCHEMA = 1
WEIGHTS = "weights.safetensors"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint. `version` names its content; `lineage` says which versions it was made from."""

    kind: str
    version: str
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    lineage: dict[str, str]
    extra: dict[str, Any]

    def load_into(self, module: torch.nn.Module, path: Path, *, assign: bool = False) -> None:
        """Strict: raises CheckpointMismatchError naming the first tensor that does not fit.

        Args:
            assign: put these tensors in place of the module's, in their own number format; otherwise copy.
        """
        wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
        found = {name: tuple(t.shape) for name, t in self.tensors.items()}
        if wanted != found:
            name, shape = min(set(wanted.items()) ^ set(found.items()))
            raise CheckpointMismatchError(
                f"{path} does not fit the recipe: tensor {name} {'wants' if wanted.get(name) == shape else 'has'} "
                f"shape {shape}; load it with the recipe that made it, or train this stage anew in another --run"
            )
        module.load_state_dict(self.tensors, assign=assign)


def save_checkpoint(
    path: Path,
    kind: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    *,
    lineage: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint folder atomically, replacing an older one of that name; returns its version."""
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_tensors(contiguous, temporary / WEIGHTS)
            with (temporary / WEIGHTS).open("rb") as file:
                os.fsync(file.fileno())
            digest = sha256_file(temporary / WEIGHTS)
            manifest = {
                "schema": SCHEMA,
                "kind": kind,
                "config": dict(config),
                "lineage": dict(lineage or {}),
                "extra": dict(extra or {}),
                "files": {WEIGHTS: digest},
            }
            manifest["version"] = fingerprint([kind, manifest["config"], digest])
            write_json(temporary / MANIFEST, manifest)
            os.chmod(temporary, 0o755)
            _replace_folder(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return str(manifest["version"])


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """`save_file`, whose errors of the disk are OSErrors again: safetensors wraps them and keeps the number as text."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _replace_folder(new: Path, path: Path) -> None:
    # A folder cannot be renamed over a full one: the old one steps aside first and comes back if that fails
    # (or, after a kill between the two renames, when it is next read).
    aside = _aside(path)
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        os.rename(path, aside)
    try:
        os.rename(new, path)
    except OSError:
        if aside.exists():
            os.rename(aside, path)
        raise
    fsync_directory(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def is_complete(path: Path) -> bool:
    return (path / MANIFEST).is_file()


def read_manifest(path: Path, kind: str | None = None) -> dict[str, Any]:
    """The checkpoint's description without its tensors.

    Raises CorruptFileError (missing, damaged), CheckpointMismatchError (another schema or kind).
    """
    if not path.is_dir() and is_complete(_aside(path)):
        os.rename(_aside(path), path)
    if not path.is_dir():
        raise CorruptFileError(f"there is no checkpoint at {path}")
    manifest = read_json(path / MANIFEST)
    if manifest.get("schema") != SCHEMA:
        raise CheckpointMismatchError(
            f"{path} has checkpoint schema {manifest.get('schema')}, this version reads {SCHEMA}; "
            "use the version of wovr that wrote it"
        )
    if kind is not None and manifest["kind"] != kind:
        raise CheckpointMismatchError(f"{path} holds a {manifest['kind']}, but a {kind} is wanted here")
    return dict(manifest)


def load_checkpoint(path: Path, kind: str | None = None, *, verify: bool = True) -> Checkpoint:
    """Read and verify a checkpoint folder. Raises as `read_manifest` does."""
    manifest = read_manifest(path, kind)
    weights = path / WEIGHTS
    if verify and (not weights.is_file() or sha256_file(weights) != manifest["files"][WEIGHTS]):
        raise CorruptFileError(
            f"{weights} is damaged (its sha256 is not the manifest's); delete {path} and run its stage again"
        )
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(f"{weights} cannot be read: {error}") from error
    return Checkpoint(
        manifest["kind"],
        manifest["version"],
        manifest["config"],
        tensors,
        manifest["lineage"],
        manifest["extra"],
    )


def newest_complete(folder: Path, prefix: str = "step_") -> Path | None:
    """The checkpoint with the highest step number below `folder`, or None."""
    found = [p for p in folder.glob(f"{prefix}*") if is_complete(p)] if folder.is_dir() else []
    return max(found, key=lambda p: int(p.name.removeprefix(prefix)), default=None)
