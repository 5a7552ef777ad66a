"""OpenVLA-OFT (arXiv 2502.19645) with discrete actions, as WoVR trains it: a chunk of 8 x 7 tokens in one pass.

The sequence is [BOS, patches, prompt, 56 empty places]; every place sees every other. A place predicts the token after
it, so the chunk's first token is read at the prompt's end. The tokens of a chunk are independent given what is seen:
their log-probabilities are exact. (The empty places carry no embedding; RLinf's variant, which this is, has no stop
token behind them.)

Shapes: B batch, P patches, S prompt tokens, C chunk, A action dimensions, N = 256 bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.policy.base import ActionChunk
from wovr_core.policy.openvla_oft.actions import BINS, ActionStatistics, ActionTokens
from wovr_core.policy.openvla_oft.vision import VisionConfig, VisionTowers
from wovr_core.policy.sampling import log_prob_of, sample
from wovr_core.policy.token_loss import token_loss
from wovr_core.types import ACTION_DIM, CHUNK
from wovr_core.wording import counted

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROMPT = "In: What action should the robot take to {instruction}?\nOut:"


@dataclass(frozen=True)
class OpenVLAOFTConfig:
    """The published 7B model's sizes."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    width: int = 4096
    layers: int = 32
    heads: int = 32
    hidden: int = 11008
    vocabulary: int = 32000
    """Without padding: action tokens are its last 256."""
    padded: int = 32064
    """Rows of the embedding and of the output layer."""
    last_prompt_token: int = 29871
    """What the prompt ends with: the tokenizer's mark of an empty word."""
    tokenizer: str = ""
    """Path of the checkpoint's tokenizer.json."""
    statistics: ActionStatistics = field(default_factory=ActionStatistics)


class OpenVLAOFT(nn.Module):
    """The policy; see `policy.base.Policy`. The previous action is not looked at."""

    def __init__(self, config: OpenVLAOFTConfig) -> None:
        from transformers import LlamaConfig, LlamaModel

        super().__init__()
        self.config = config
        self.vision_backbone = VisionTowers(config.vision, config.width)
        self.language_model = LlamaModel(
            LlamaConfig(
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.hidden,
                vocab_size=config.padded,
                rms_norm_eps=1e-6,
                max_position_embeddings=2048,
                use_cache=False,
            )
        )
        self.lm_head = nn.Linear(config.width, config.padded, bias=False)
        self.action_tokens = ActionTokens(config.statistics)

    def forward(self, frames: torch.Tensor, instructions: Sequence[str]) -> torch.Tensor:
        """Logits of the chunk.

        Args:
            frames: u8 (B, H, W, 3).
            instructions: B strings.

        Returns:
            (B, C, A, N) float32, bins in the order of their token ids.

        Raises:
            WovrError: not one instruction for each frame.
        """
        if len(frames) != len(instructions):
            raise WovrError(
                f"{counted(len(frames), 'frame')} but {counted(len(instructions), 'instruction')}; "
                "there must be one for each"
            )
        config, device = self.config, self.lm_head.weight.device
        ids = [self.prompt_ids(text) for text in instructions]
        lengths = torch.tensor([len(i) for i in ids], device=device)
        prompt = nn.utils.rnn.pad_sequence([torch.tensor(i) for i in ids], batch_first=True).to(device)  # (B, S)
        words = self.language_model.embed_tokens(prompt)
        patches = self.vision_backbone(frames).to(words.dtype)  # (B, P, D)
        places = words.new_zeros(len(ids), CHUNK * ACTION_DIM, words.shape[-1])
        sequence = torch.cat([words[:, :1], patches, words[:, 1:], places], dim=1)

        # Shorter prompts are padded behind; nobody sees the padding, and positions are counted without it.
        real = torch.ones(sequence.shape[:2], dtype=torch.bool, device=device)
        known = 1 + patches.shape[1]
        real[:, known : known + prompt.shape[1] - 1] = (
            torch.arange(1, prompt.shape[1], device=device) < lengths[:, None]
        )
        positions = (real.long().cumsum(dim=1) - 1).clamp(min=0)
        mask = torch.zeros(len(ids), 1, 1, sequence.shape[1], dtype=sequence.dtype, device=device)
        mask = mask.masked_fill(~real[:, None, None], torch.finfo(sequence.dtype).min)
        hidden = self.language_model(
            inputs_embeds=sequence,
            attention_mask=mask.expand(-1, -1, sequence.shape[1], -1),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state

        # The place before each action token: the prompt's last token, then the empty places but the last.
        ends = patches.shape[1] + lengths - 1  # (B,)
        empty = torch.arange(CHUNK * ACTION_DIM - 1, device=device) + known + prompt.shape[1] - 1
        at = torch.cat([ends[:, None], empty.expand(len(ids), -1)], dim=1)  # (B, C * A)
        read = hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1]))
        rows = self.lm_head.weight[config.vocabulary - BINS : config.vocabulary]
        return nn.functional.linear(read, rows).float().view(len(ids), CHUNK, ACTION_DIM, BINS)

    def prompt_ids(self, instruction: str) -> list[int]:
        """BOS, the prompt, and the token it ends with.

        Raises:
            WovrError: the instruction is empty.
            CorruptFileError: no tokenizer at the configured path.
        """
        if not instruction.strip():
            raise WovrError("an instruction must not be empty")
        text = PROMPT.format(instruction=instruction.strip().lower())
        ids: list[int] = list(_tokenizer(self.config.tokenizer).encode(text).ids)
        return ids if ids[-1] == self.config.last_prompt_token else [*ids, self.config.last_prompt_token]

    @torch.no_grad()
    def act(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        correlation: float = 0.0,
    ) -> ActionChunk:
        """Decide the next chunk; see `policy.base.Policy.act`.

        Raises:
            WovrError: a negative temperature, or sampling without a generator.
        """
        tokens, log_probs = sample(self.forward(frames, instructions).cpu(), temperature, generator, correlation)
        return ActionChunk(actions=self.action_tokens.decode(tokens), tokens=tokens, log_probs=log_probs)

    def log_prob(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        previous_actions: torch.Tensor,
        tokens: torch.Tensor,
        *,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """(B, C, A) exact log-probabilities of `tokens`, differentiable; see `policy.base.Policy.log_prob`."""
        logits = self.forward(frames, instructions)
        return log_prob_of(logits, tokens.to(logits.device), temperature)

    def sft_loss(
        self,
        frames: torch.Tensor,
        instructions: Sequence[str],
        actions: torch.Tensor,
        mask_padding: torch.Tensor | None = None,
        smoothing: float = 0.0,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Cross-entropy of demonstrated actions.

        Args:
            actions: (B, C, A), from each frame on.
            mask_padding: (B, C) bool, true where there is an action.
            smoothing: share of the label's weight given to the two neighbouring bins together.

        Returns:
            The mean over all tokens that are not padding, and metrics `loss`, `token_accuracy`.
        """
        logits = self.forward(frames, instructions)
        tokens = self.action_tokens.encode(actions).to(logits.device)
        if mask_padding is None:
            mask_padding = torch.ones(tokens.shape[:2], dtype=torch.bool)
        real = mask_padding.to(logits.device)
        loss = token_loss(logits, tokens, real, smoothing)
        hits = (logits.argmax(-1) == tokens)[real].float().mean()
        return loss, {"loss": float(loss.detach()), "token_accuracy": float(hits)}


@lru_cache(maxsize=4)
def _tokenizer(path: str) -> Tokenizer:
    """Read once per process."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises plain Exception
        raise CorruptFileError(f"the tokenizer {path or '(no path)'} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
