"""What every training loop shares: resume, checkpoint, progress, Ctrl-C. The loop itself stays plain:

    with Training(folder, steps=..., modules={"policy": policy}, optimizer=optimizer) as training:
        for step in training:
            ...
            training.log(metrics)

Iterating starts at the newest complete checkpoint. Draw randomness from (seed, step), see wovr_core.seeding,
and a run that was killed ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch

from wovr_core.checkpoints import load_checkpoint, newest_complete, save_checkpoint
from wovr_core.errors import Interrupted
from wovr_core.interrupts import stop_requested
from wovr_core.stages.engine import Engine, divided_like
from wovr_core.stages.folder import StageFolder
from wovr_core.stages.progress import Progress

KIND = "training_state"
ONLY_LOOP = "training"
"""Name of a stage's loop that needs none, as it is the only one."""


class Stateful(Protocol):
    """A module, or an average of one: tensors by name, out and in."""

    def state_dict(self) -> dict[str, torch.Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, torch.Tensor], /) -> Any: ...


class Training:
    """Iterate over the steps that are still to be done."""

    def __init__(
        self,
        folder: StageFolder,
        *,
        steps: int,
        modules: Mapping[str, Stateful],
        optimizer: torch.optim.Optimizer,
        name: str = ONLY_LOOP,
        save_every_seconds: float = 60.0,
        log_every: int = 25,
        engine: Engine | None = None,
    ) -> None:
        """
        Args:
            name: of the loop, in a stage of several: of its checkpoints' folder, its phase in metrics.jsonl, and on the
                terminal.
            engine: of the processes that take part, all of which make this object; the main one writes.
        """
        self.folder = folder
        self.steps = steps
        self.name = name
        self._modules = dict(modules)
        self._optimizer = optimizer
        self._save_every = save_every_seconds
        self._log_every = log_every
        self._engine = engine or Engine()
        self._path = folder.path / name
        folder.scratch.append(self._path)
        self._metrics: dict[str, list[float]] = {}
        self._progress: Progress | None = None
        self._step = 0

    def __enter__(self) -> Training:
        newest = newest_complete(self._path)
        if newest is not None:
            self._step = self._load(newest)
        self._engine.wait()  # all have found the same checkpoint before one goes on
        if self._engine.main:
            self.folder.drop_metrics_from(self._step + 1 if self._step else 0, self.name)
        label = self.folder.title if self.name == ONLY_LOOP else f"{self.folder.title}, {self.name}"
        self._progress = Progress(label, self.steps, unit="step", initial=self._step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.close()

    def __iter__(self) -> Iterator[int]:
        saved_at = time.monotonic()
        while self._step < self.steps:
            yield self._step
            self._step += 1
            assert self._progress is not None
            self._progress.update(1)
            stopping = self._engine.any(stop_requested())
            if stopping or self._engine.any(self._engine.main and time.monotonic() - saved_at > self._save_every):
                self._save()
                saved_at = time.monotonic()
            if stopping:
                raise Interrupted(
                    f"stopped {self.folder.stage} after step {self._step} of {self.steps}; "
                    "the same command goes on from there"
                )
        # A stage of several loops may be interrupted in a later one: this one is then found finished.
        if newest_complete(self._path) != self._path / f"step_{self.steps:07d}":
            self._save()

    def log(self, metrics: Mapping[str, float | torch.Tensor]) -> None:
        """Collect this step's metrics; their means are written every `log_every` steps."""
        metrics = self._engine.mean({key: float(value) for key, value in metrics.items()})
        for key, value in metrics.items():
            self._metrics.setdefault(key, []).append(float(value))
        done = self._step + 1
        if done % self._log_every == 0 or done == self.steps:
            means = {key: sum(values) / len(values) for key, values in self._metrics.items()}
            assert self._progress is not None
            means["steps_per_second"] = self._progress.rate
            self._metrics = {}
            if self._engine.main:
                self.folder.log(done, means, self.name)
            self._progress.show(means)

    def _save(self) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for name, module in self._modules.items():
            tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
        tensors |= _optimizer_tensors(self._optimizer)
        if self._engine.divides:
            tensors = self._engine.gather(tensors)
        if self._engine.main:
            self._write(tensors)
        self._engine.wait()

    def _write(self, tensors: dict[str, torch.Tensor]) -> None:
        previous = newest_complete(self._path)
        extra: dict[str, Any] = {"step": self._step, "metrics": self._metrics}
        save_checkpoint(self._path / f"step_{self._step:07d}", KIND, {}, tensors, extra=extra)
        self.folder.remember_time()
        if previous is not None and previous.name != f"step_{self._step:07d}":
            shutil.rmtree(previous, ignore_errors=True)

    def _load(self, path: Path) -> int:
        checkpoint = load_checkpoint(path, KIND)
        for name, module in self._modules.items():
            prefix = f"module.{name}."
            own = {k.removeprefix(prefix): v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
            present = module.state_dict()
            module.load_state_dict({k: divided_like(v, present.get(k)) for k, v in own.items()})
        _load_optimizer(self._optimizer, checkpoint.tensors)
        self._metrics = checkpoint.extra["metrics"]
        return int(checkpoint.extra["step"])


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, slots in state.items()
        for key, value in slots.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    # Learning rates are functions of the step, so parameter groups need no saving.
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        i: {k: _laid_out_like(divided_like(v, parameters[i]), parameters[i]) for k, v in slots.items()}
        for i, slots in state.items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out_like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The value in its parameter's memory format, which files do not keep: fused AdamW on a CPU pairs the numbers of
    weights and moments by their place in memory."""
    if value.shape != parameter.shape or value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def warmup_cosine(step: int, steps: int, warmup: int = 50, floor: float = 0.02) -> float:
    """Multiplier of the learning rate: linear warm-up, then a cosine down to `floor`."""
    warm = min(1.0, (step + 1) / max(1, warmup))
    progress = min(1.0, step / max(1, steps))
    return warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value
