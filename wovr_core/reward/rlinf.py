"""RLinf's reward models: a residual network on one frame, and its variant that is told the task.

Same names and shapes as the published `resnet_rm.pth` and `taskemb_resnet_rm.pth` (convolutions with biases, as in the
textbook residual network), so that either side's files fit.

Shapes: N frames, H = W = 256 in the published runs (any size computes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from wovr_core.errors import UnknownNameError, WovrError

STAGES = (64, 128, 256, 512)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.conv3 = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else None
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.conv3 is None else self.conv3(x)))


def _trunk() -> list[nn.Module]:
    """Stem, four stages of two blocks, average pool: (N, 3, H, W) -> (N, 512)."""
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    stages, inputs = [], 64
    for i, width in enumerate(STAGES):
        stages.append(nn.Sequential(_Residual(inputs, width, 1 if i == 0 else 2), _Residual(width, width, 1)))
        inputs = width
    return [stem, *stages, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()]


def _pixels(frames: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """u8 (N, H, W, 3) -> float32 (N, 3, H, W) in [-1, 1]."""
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise WovrError(f"the reward model takes u8 frames (N, H, W, 3), got {frames.dtype} {tuple(frames.shape)}")
    return frames.to(like.device).permute(0, 3, 1, 2).float() / 127.5 - 1


class ResnetReward(nn.Module):
    """Success of one frame, whatever the task (`ResnetRewModel`). Call it as a `RewardFunction`."""

    kind = "ResnetRewModel"
    file = "resnet_rm.pth"

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(*_trunk(), nn.Linear(STAGES[-1], 1), nn.Sigmoid())

    def forward(self, frames: torch.Tensor, instructions: Sequence[str] = ()) -> torch.Tensor:
        """u8 (N, H, W, 3) -> probability of success (N,)."""
        return self.net(_pixels(frames, next(self.net.parameters())))[:, 0]


class TaskEmbedReward(nn.Module):
    """Success of one frame for a task (`TaskEmbedResnetRewModel`). Call it as a `RewardFunction`.

    Args:
        instructions: the suite's; their *alphabetical* order numbers the tasks, not LIBERO's.
    """

    kind = "TaskEmbedResnetRewModel"
    file = "taskemb_resnet_rm.pth"

    def __init__(self, instructions: Sequence[str], embedding: int = 64) -> None:
        super().__init__()
        self.ids = {text: i for i, text in enumerate(sorted(instructions))}
        self.visual_encoder = nn.Sequential(*_trunk())
        self.task_embedding = nn.Embedding(len(self.ids), embedding)
        self.fusion_layer = nn.Sequential(
            nn.Linear(STAGES[-1] + embedding, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 1), nn.Sigmoid()
        )

    def forward(self, frames: torch.Tensor, instructions: Sequence[str]) -> torch.Tensor:
        """u8 (N, H, W, 3) and N instructions -> probability of success (N,).

        Raises:
            UnknownNameError: an instruction that is none of the suite's.
        """
        weight = self.task_embedding.weight
        for text in instructions:
            if text not in self.ids:
                raise UnknownNameError("instruction", text, self.ids)
        ids = torch.tensor([self.ids[text] for text in instructions], device=weight.device)
        features = self.visual_encoder(_pixels(frames, weight))
        return self.fusion_layer(torch.cat([features, self.task_embedding(ids)], dim=1))[:, 0]


RlinfReward = ResnetReward | TaskEmbedReward


def from_state(state: Mapping[str, torch.Tensor], instructions: Sequence[str] = ()) -> RlinfReward:
    """The model that a state dict is of, in evaluation mode.

    Args:
        instructions: of the suite, for the variant that is told the task.

    Raises:
        WovrError: a tensor is missing, unexpected or of another shape.
    """
    model: RlinfReward
    if "task_embedding.weight" in state:
        tasks = len(state["task_embedding.weight"])
        if len(set(instructions)) != tasks:
            raise WovrError(f"this reward model is told one of {tasks} tasks: give that many instructions of its suite")
        model = TaskEmbedReward(instructions, embedding=state["task_embedding.weight"].shape[-1])
    else:
        model = ResnetReward()
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in state.items()}
    if wanted != found:
        missing, more = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        shapes = [name for name in wanted if name in found and wanted[name] != found[name]]
        raise WovrError(
            f"the reward model's file does not fit: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(more)} unexpected {more[:2]}, {len(shapes)} of another shape {shapes[:2]}"
        )
    model.load_state_dict(state)
    return model.eval()
