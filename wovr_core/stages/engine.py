"""Where a training loop runs: this process alone, or several under `accelerate launch`. The loop is the same.

A step's batch is a fixed number of shares, each drawn from a generator of its own number; processes divide the shares
among them. So two processes with one share each compute what one process with two shares does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from wovr_core.errors import MissingDependencyError, WovrError


class Engine:
    """One process, on the device where the model is: every method does nothing, or what it says for itself alone."""

    rank = 0
    world = 1
    divides = False
    """Whether each process holds a part of the parameters only."""

    @property
    def main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def place(self, module: nn.Module) -> None:
        """Move a module to this process's device."""

    def wrap(self, module: nn.Module, blocks: Iterable[nn.Module]) -> nn.Module:
        """What to call in its place, so that gradients are averaged over the processes.

        Args:
            blocks: its parts that are gathered one at a time where parameters are divided among processes.
        """
        return module

    def shares(self, count: int) -> Iterator[int]:
        """The numbers of this process's shares of a step, of world * count in all."""
        return iter(range(self.rank, self.world * count, self.world))

    def without_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within it, backward passes leave gradients to be averaged by a later one."""
        return nullcontext()

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return flag

    def mean(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Averages over the processes."""
        return dict(metrics)

    def gather(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A copy of tensors in the main process, whole and one at a time; nothing in the others, which must ask too."""
        found = {}
        for name, tensor in state.items():
            full = whole(tensor.detach())
            if self.main:
                found[name] = full.cpu() if full is not tensor and self.divides else full.clone()
        return found

    def wait(self) -> None:
        """Until every process is here."""

    def share_weights(self, module: nn.Module) -> None:
        """Give all processes the main one's values."""


class AccelerateEngine(Engine):
    """Processes started by `accelerate launch`, or this one alone on a GPU.

    Args:
        shard: divide parameters, gradients and optimizer among the processes (FSDP2, `fully_shard`); otherwise each
            holds all of them (DDP).
    """

    def __init__(self, shard: bool) -> None:
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs
        except ImportError as error:
            raise MissingDependencyError(
                "training at scale needs accelerate; run: pip install 'wovr-workbench[large]'"
            ) from error
        # The loss chooses its own precision (wovr_core.precision), so accelerate need not.
        self._accelerator = Accelerator(
            mixed_precision="no", kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)]
        )
        if str(self._accelerator.distributed_type.value) not in ("NO", "MULTI_GPU", "MULTI_CPU"):
            raise WovrError(
                f"launch without {self._accelerator.distributed_type.value}: parameters are divided by "
                "transformer.large.shard, not by accelerate's own settings"
            )
        self.rank = self._accelerator.process_index
        self.world = self._accelerator.num_processes
        self.divides = shard and self.world > 1

    def place(self, module: nn.Module) -> None:
        module.to(self._accelerator.device)

    def wrap(self, module: nn.Module, blocks: Iterable[nn.Module]) -> nn.Module:
        if not self.divides:
            wrapped: nn.Module = self._accelerator.prepare_model(module)
            return wrapped
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self._accelerator.device.type, (self.world,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        return module

    def without_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        return nullcontext() if self.divides else self._accelerator.no_sync(module)

    def any(self, flag: bool) -> bool:
        mark = torch.tensor([float(flag)], device=self._accelerator.device)
        return bool(self._reduced(mark, "sum") > 0)

    def mean(self, metrics: Mapping[str, float]) -> dict[str, float]:
        values = torch.tensor(list(metrics.values()), device=self._accelerator.device, dtype=torch.float64)
        return dict(zip(metrics, self._reduced(values, "mean").tolist(), strict=True))

    def _reduced(self, values: torch.Tensor, how: str) -> torch.Tensor:
        result: torch.Tensor = self._accelerator.reduce(values, reduction=how)
        return result

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()

    def share_weights(self, module: nn.Module) -> None:
        if self.world > 1:
            for tensor in module.state_dict().values():
                torch.distributed.broadcast(tensor, 0)


@lru_cache(maxsize=2)
def accelerated(shard: bool) -> AccelerateEngine:
    """The engine of this process; accelerate keeps one state per process, so there is one."""
    return AccelerateEngine(shard)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor of one that is divided among processes (all of them must ask); any other as it is."""
    divided: Any = tensor
    full: torch.Tensor = divided.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def divided_like(full: torch.Tensor, like: Any) -> torch.Tensor:
    """This process's part of a full tensor, divided as `like` is; the tensor itself where `like` is whole."""
    if not hasattr(like, "device_mesh") or full.shape != like.shape:
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)
