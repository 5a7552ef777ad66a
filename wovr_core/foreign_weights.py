"""Weights of large files, shard by shard and tensor by tensor, into networks that have no values yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from wovr_core.errors import CorruptFileError, MissingDependencyError, WovrError
from wovr_core.wording import counted


def without_values() -> AbstractContextManager[object]:
    """Networks built within it have no values (parameters on the meta device, buffers real): nothing is drawn, nothing
    takes memory.

    Raises:
        MissingDependencyError: accelerate is not installed.
    """
    try:
        from accelerate import init_empty_weights
    except ImportError as error:
        raise MissingDependencyError("large models need accelerate: pip install 'wovr-workbench[large]'") from error
    manager: AbstractContextManager[object] = init_empty_weights(include_buffers=False)
    return manager


def tensors(folder: Path, stem: str = "diffusion_pytorch_model") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a model's folder, one at a time, shard by shard.

    Args:
        stem: of the files' names: diffusers' by default, "model" for transformers.

    Raises:
        CorruptFileError: a shard is missing or damaged, or a tensor stands in two of them.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(f"{index} is no index of shards: {error}") from error
    else:
        names = [f"{stem}.safetensors"]
    seen: set[str] = set()
    for name in names:
        path = folder / Path(name).name  # an index names files beside it, nothing else
        if not path.is_file():
            raise CorruptFileError(f"{path} is missing")
        try:
            with safe_open(path, framework="pt") as shard:
                for key in shard.keys():  # noqa: SIM118  # no mapping
                    if key in seen:
                        raise CorruptFileError(f"{path}: tensor {key} stands in an earlier shard, too")
                    seen.add(key)
                    yield key, shard.get_tensor(key)
        except SafetensorError as error:
            raise CorruptFileError(f"{path} cannot be read: {error}") from error


def fill(
    module: nn.Module,
    source: Iterable[tuple[str, torch.Tensor]],
    where: Path,
    dtype: torch.dtype | None,
    drop: str = "",
    keep: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """Give an empty module its values, tensor by tensor.

    Args:
        dtype: of the values; None leaves each as it is.
        drop: tensors with this prefix are not the module's: they are returned.
        keep: parameters with these prefixes may be absent in the source.

    Raises:
        WovrError: a tensor of another shape, or one too many or too few.
    """
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    dropped: dict[str, torch.Tensor] = {}
    for name, tensor in source:
        if drop and name.startswith(drop):
            dropped[name.removeprefix(drop)] = tensor
            continue
        if wanted.get(name) != tuple(tensor.shape):
            here = f"wants {wanted[name]}" if name in wanted else "has no such tensor"
            raise WovrError(f"{where}: {name} is {tuple(tensor.shape)}, the recipe's model {here}")
        del wanted[name]
        _assign(module, name, tensor.to(dtype or tensor.dtype))
    missing = [name for name in wanted if not name.startswith(keep or ("\0",))]
    if missing:
        raise WovrError(
            f"{where} lacks {counted(len(missing), 'tensor')} of the recipe's model, the first is {missing[0]}"
        )
    return dropped


def _assign(module: nn.Module, name: str, value: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    if isinstance(old, nn.Parameter):
        setattr(owner, leaf, nn.Parameter(value, requires_grad=old.requires_grad))
    else:
        setattr(owner, leaf, value.to(old.dtype))
