"""The action-conditioned video transformer: diffusers' Wan, told what the robot does instead of what a text says.

WoVR (arXiv 2602.13977, section 3.1) injects actions through two channels: the four actions of a latent frame are
added to that frame's diffusion-time embedding and so steer the AdaLN modulation of every block; each single action
is a token of the cross-attention, in place of the text. Only `condition_embedder` differs from Wan, and the blocks
and attention processors are drop-in variants with the very same parameters (see `wan_blocks`), so that the tiny
model and the 5B one are the same class and Wan's weights fit.

Shapes: B batch, L latent frames, N = L * h * w / patch area tokens, D inner width, A action dimensions,
R = 4 * L action rows.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import WanTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import nn

from wovr_core.types import ACTION_DIM
from wovr_core.world_model.autoencoder import GROUP
from wovr_core.world_model.wan_blocks import use_frame_blocks


def group_actions(actions: torch.Tensor) -> torch.Tensor:
    """Repeat the first row three more times, so that each latent frame owns four rows (RLinf's grouping).

    Args:
        actions: (B, 1 + 4 * (L - 1), A); row i produced frame i.

    Returns:
        (B, 4 * L, A)
    """
    if actions.ndim != 3 or actions.shape[1] % GROUP != 1:
        raise ValueError(f"actions must be (B, 1 + 4 k, A), got {tuple(actions.shape)}")
    return torch.cat([actions[:, :1].expand(-1, GROUP - 1, -1), actions], dim=1)


class ActionConditionEmbedder(nn.Module):
    """Stands where Wan has its time, text and image embedder; same call, same kind of result.

    Args:
        dim: inner width D.
        freq_dim: width of the sinusoidal time features.
        time_embeds: whether actions reach the time embedding (and the AdaLN modulation).
        tokens: whether actions are tokens of the cross-attention; otherwise one learned token stands there.
        rows: number of action rows R that get a learned position, or 0 for none (as in RLinf's checkpoints, whose
            cross-attention sees a *set* of actions).
        repeat_first: whether the repeated first action is as many tokens, too; in RLinf's checkpoints it is one.
    """

    def __init__(
        self, dim: int, freq_dim: int, time_embeds: bool, tokens: bool, rows: int, repeat_first: bool = True
    ) -> None:
        super().__init__()
        self.repeat_first = repeat_first
        self.timesteps_proj = Timesteps(num_channels=freq_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedder = TimestepEmbedding(in_channels=freq_dim, time_embed_dim=dim)
        self.act_fn = nn.SiLU()
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.action_time = (
            nn.Sequential(nn.Linear(GROUP * ACTION_DIM, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))
            if time_embeds
            else None
        )
        self.action_tokens = (
            nn.Sequential(nn.Linear(ACTION_DIM, dim), nn.GELU(), nn.Linear(dim, dim)) if tokens else None
        )
        self.null_token = None if tokens else nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, rows, dim) * 0.02) if tokens and rows else None

    def forward(
        self,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_image: torch.Tensor | None = None,
        timestep_seq_len: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """Embed times and actions once per latent frame.

        Args:
            timestep: (B * N,), one per token as Wan flattens them; equal within a latent frame.
            encoder_hidden_states: (B, R, A), the raw actions, four rows per latent frame.
            timestep_seq_len: N.

        Returns:
            time + action embedding (B, N, D), its projection *per latent frame* (B, L, 6 D), the cross-attention
            tokens (B, R or R - 3 or 1, D), and None (no image tokens).
        """
        actions = encoder_hidden_states
        batch, rows, _ = actions.shape
        frames = rows // GROUP
        if timestep_seq_len is None or timestep_seq_len % frames:
            raise ValueError(f"need one timestep per token, a multiple of {frames}; got {timestep_seq_len}")
        per_frame = timestep_seq_len // frames
        times = timestep.view(batch, frames, per_frame)[:, :, 0]
        features = self.timesteps_proj(times.reshape(-1)).view(batch, frames, -1)
        embedding = self.time_embedder(features.to(self.time_proj.weight.dtype))
        if self.action_time is not None:
            embedding = embedding + self.action_time(actions.reshape(batch, frames, -1))
        projection = self.time_proj(self.act_fn(embedding).to(self.time_proj.weight.dtype))
        if self.action_tokens is not None:
            tokens = self.action_tokens(actions if self.repeat_first else actions[:, GROUP - 1 :])
            if self.positions is not None:
                tokens = tokens + self.positions.to(tokens.dtype)
        else:
            assert self.null_token is not None
            tokens = self.null_token.expand(batch, -1, -1)
        return embedding.repeat_interleave(per_frame, dim=1), projection, tokens, None


class ActionWanTransformer(WanTransformer3DModel):
    """`WanTransformer3DModel` conditioned on actions; the forward pass is inherited.

    `forward(hidden_states (B, Dc, L, h, w), timestep (B, N), encoder_hidden_states = actions (B, R, A))` returns
    the velocity (B, Dc, L, h, w).
    """

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 1, 1),
        num_attention_heads: int = 4,
        attention_head_dim: int = 64,
        in_channels: int = 32,
        out_channels: int = 32,
        freq_dim: int = 256,
        ffn_dim: int = 1024,
        num_layers: int = 6,
        cross_attn_norm: bool = True,
        eps: float = 1e-6,
        rope_max_seq_len: int = 1024,
        actions_in_time: bool = True,
        actions_in_tokens: bool = True,
        action_rows: int = 16,
        repeat_first: bool = True,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=ACTION_DIM,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=num_layers,
            cross_attn_norm=cross_attn_norm,
            qk_norm="rms_norm_across_heads",
            eps=eps,
            image_dim=None,
            added_kv_proj_dim=None,
            rope_max_seq_len=rope_max_seq_len,
            pos_embed_seq_len=None,
        )
        self.condition_embedder = ActionConditionEmbedder(
            num_attention_heads * attention_head_dim,
            freq_dim,
            actions_in_time,
            actions_in_tokens,
            action_rows,
            repeat_first,
        )
        use_frame_blocks(self)

    def velocity(self, latents: torch.Tensor, timesteps: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """The network's output for latents in our order.

        Args:
            latents: (B, L, Dc, h, w).
            timesteps: (B, L) in [0, 1000], one per latent frame.
            actions: (B, 1 + 4 (L - 1), A).

        Returns:
            (B, L, Dc, h, w)
        """
        wan: Any = self  # diffusers' registered config and decorated forward carry no types
        _, p_h, p_w = wan.config.patch_size
        tokens = (latents.shape[-2] // p_h) * (latents.shape[-1] // p_w)
        output = wan(
            hidden_states=latents.transpose(1, 2),
            timestep=timesteps.repeat_interleave(tokens, dim=1),
            encoder_hidden_states=group_actions(actions),
            return_dict=False,
        )
        return output[0].transpose(1, 2)
