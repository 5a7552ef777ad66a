"""Supervised fine-tuning: demonstrations as gathered batches, and one loss. The loop is the stage's.

A demonstrator's executed action carries noise, its clean action is the intention: the policy imitates the
latter and sees the former as its previous action, so it learns to come back from where noise leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wovr_core.errors import WovrError
from wovr_core.instructions import embed
from wovr_core.policy.tiny_vla import TinyVLA
from wovr_core.policy.token_loss import token_loss
from wovr_core.types import CHUNK, NULL_ACTION, Episode, FloatArray


@dataclass(frozen=True)
class SFTBatch:
    """B training samples."""

    frames: torch.Tensor
    """(B, H, W, 3) u8"""
    text: torch.Tensor
    """(B, D) embedded instructions."""
    instructions: tuple[str, ...]
    """B, the same in words."""
    previous_actions: torch.Tensor
    """(B, A), as executed; NULL_ACTION before the first frame."""
    actions: torch.Tensor
    """(B, C, A), the demonstrator's intentions from this frame on."""
    mask_padding: torch.Tensor
    """(B, C) bool: true where there is an action, false past the episode's end."""


class SFTDataset:
    """All frames of some episodes with what was done before and is to be done after each of them."""

    def __init__(self, episodes: Sequence[Episode], chunk: int = CHUNK) -> None:
        """Lay the episodes out as flat tables, so that a batch is a handful of gathers.

        Raises:
            WovrError: no episodes, or episodes of unlike frame size.
        """
        if not episodes:
            raise WovrError("SFT needs at least one demonstration, got none")
        sizes = {e.frames.shape[1:] for e in episodes}
        if len(sizes) > 1:
            raise WovrError(f"SFT needs frames of one size, got {sorted(sizes)}")
        instructions = sorted({e.task.instruction for e in episodes})
        frames, previous, labels, valid, texts = [], [], [], [], []
        for episode in episodes:
            wanted = episode.actions if episode.clean_actions is None else episode.clean_actions
            frames.append(episode.frames[: episode.length])
            previous.append(np.concatenate([NULL_ACTION[None], episode.actions[:-1]]))
            # C rows past the end, so that every chunk can be read; they are masked
            labels.append(np.concatenate([wanted, np.repeat(wanted[-1:], chunk, axis=0)]))
            valid.append(np.arange(episode.length + chunk) < episode.length)
            texts.append(np.full(episode.length, instructions.index(episode.task.instruction)))
        starts = np.concatenate([np.full(e.length, i * chunk) for i, e in enumerate(episodes)])
        self._row = torch.from_numpy(np.arange(len(starts)) + starts)  # sample -> its first row of labels
        self._frames = torch.from_numpy(np.concatenate(frames))
        self._previous = torch.from_numpy(np.concatenate(previous).astype(np.float32))
        self._labels = torch.from_numpy(np.concatenate(labels).astype(np.float32))
        self._valid = torch.from_numpy(np.concatenate(valid))
        self._text_of = torch.from_numpy(np.concatenate(texts).astype(np.int64))
        self._texts = torch.from_numpy(embed(instructions))
        self._instructions = instructions
        self._ahead = torch.arange(chunk)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def actions(self) -> FloatArray:
        """(N, A) all labels, without padding: what the action bins are fitted to."""
        return self._labels[self._valid].numpy()

    def gather(self, indices: torch.Tensor) -> SFTBatch:
        """indices (B,) int64 -> the batch of those samples."""
        rows = self._row[indices][:, None] + self._ahead  # (B, C)
        text_of = self._text_of[indices]
        return SFTBatch(
            frames=self._frames[indices],
            text=self._texts[text_of],
            instructions=tuple(self._instructions[i] for i in text_of.tolist()),
            previous_actions=self._previous[indices],
            actions=self._labels[rows],
            mask_padding=self._valid[rows],
        )

    def sample(self, batch: int, generator: torch.Generator) -> SFTBatch:
        """A batch drawn evenly, with replacement."""
        return self.gather(torch.randint(len(self), (batch,), generator=generator))


@dataclass(frozen=True)
class SFTLossConfig:
    """How samples are disturbed and what is asked of the policy."""

    max_shift: int = 4
    """Pictures are shifted by up to this many pixels each way (random shift, arXiv 2004.13649)."""
    previous_noise: float = 0.2
    """Deviation of the noise on the previous action's motion, so that it is a hint and not the answer."""
    previous_dropout: float = 0.3
    """Share of samples whose previous motion is hidden (set to zero)."""
    smoothing: float = 0.0
    """Share of the label's weight given to the two neighbouring bins together."""


def sft_loss(
    policy: TinyVLA,
    batch: SFTBatch,
    generator: torch.Generator,
    config: SFTLossConfig = SFTLossConfig(),
    *,
    autocast: bool = False,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the demonstrated tokens, averaged over all that are not padding.

    Args:
        policy: in training; its bins fitted.
        batch: B samples.
        generator: of all random disturbances.
        autocast: compute the network in bfloat16.

    Returns:
        The loss, and metrics `loss`, `token_accuracy`, `action_error` (mean absolute, of the greedy action).
    """
    frames = random_shift(batch.frames, config.max_shift, generator)
    previous = _disturb_previous(batch.previous_actions, config, generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = policy(frames, batch.text, previous)  # (B, C, A, N)
    tokens = policy.action_bins.encode(batch.actions)  # (B, C, A)
    loss = token_loss(logits, tokens, batch.mask_padding, config.smoothing)
    with torch.no_grad():
        greedy = logits.argmax(-1)
        error = (policy.action_bins.decode(greedy) - batch.actions).abs()
        mask = batch.mask_padding[..., None].expand_as(tokens)
        metrics = {
            "loss": float(loss),
            "token_accuracy": float((greedy == tokens)[mask].float().mean()),
            "action_error": float(error[mask].mean()),
        }
    return loss, metrics


def random_shift(frames: torch.Tensor, max_shift: int, generator: torch.Generator) -> torch.Tensor:
    """Shift each picture by its own whole number of pixels, repeating the border.

    Args:
        frames: (B, H, W, 3)

    Returns:
        (B, H, W, 3), same dtype.
    """
    if max_shift == 0:
        return frames
    b, h, w, _ = frames.shape
    shift = torch.randint(-max_shift, max_shift + 1, (b, 2), generator=generator)
    rows = (torch.arange(h) + shift[:, :1]).clamp(0, h - 1)  # (B, H)
    columns = (torch.arange(w) + shift[:, 1:]).clamp(0, w - 1)  # (B, W)
    return frames[torch.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _disturb_previous(previous: torch.Tensor, config: SFTLossConfig, generator: torch.Generator) -> torch.Tensor:
    """(B, A) -> (B, A): the motion is noisy or hidden; the gripper, which is a state and not a motion, is kept."""
    motion = previous[:, :-1]
    noisy = motion + config.previous_noise * torch.randn(motion.shape, generator=generator)
    kept = torch.rand((len(previous), 1), generator=generator) >= config.previous_dropout
    return torch.cat([noisy * kept, previous[:, -1:]], dim=1)
