"""Wan's blocks and attention with the same parameters and the same mathematics, arranged for speed.

The stock block materialises the modulation (B, N, 6, D) in float32 for every token of every block, although it is
equal within a latent frame; ours broadcasts it from (B, L, 6, D). The stock attention rotates queries and keys by
writing interleaved halves; ours leaves the channels of a head permuted, which no dot product sees.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformerBlock

SHORT = 512
"""Queries up to which a CPU multiplies attention out: the scores still fit into memory and cache."""


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding with a head's channels left permuted (even ones first).

    Args:
        x: (B, N, heads, d).
        cos, sin: (1, N, 1, d) with equal neighbours, as Wan's rope gives them.
    """
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    c, s = cos[..., 0::2].to(x.dtype), sin[..., 1::2].to(x.dtype)
    return torch.cat([even * c - odd * s, even * s + odd * c], dim=-1)


def _rms_norm(norm: torch.nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
    """With the weight in x's type: only then is there a fused kernel under autocast."""
    return F.rms_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.eps)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Attention (B, heads, N, d). On CPUs, short sequences are multiplied out: the fused kernel's backward pass takes
    three to four times as long there (at 64 to 256 tokens)."""
    if q.device.type != "cpu" or mask is not None or q.shape[2] > SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return scores.softmax(dim=-1) @ v


class FrameAttnProcessor:
    """Attention without diffusers' dispatch and without strided writes."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = _rms_norm(attn.norm_q, attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        k = _rms_norm(attn.norm_k, attn.to_k(source)).unflatten(2, (attn.heads, -1))
        v = attn.to_v(source).unflatten(2, (attn.heads, -1))
        if rotary_emb is not None:
            q, k = rotate(q, *rotary_emb), rotate(k, *rotary_emb)
        out = attend(q.transpose(1, 2), k.to(q.dtype).transpose(1, 2), v.to(q.dtype).transpose(1, 2), attention_mask)
        return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))


class FrameBlock(WanTransformerBlock):
    """A Wan block whose modulation comes per latent frame: temb (B, L, 6, D) for N = L * k tokens."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        rotary_emb: Any,
    ) -> torch.Tensor:
        """hidden_states (B, N, D), encoder_hidden_states (B, R, D) -> (B, N, D)."""
        frames = temb.shape[1]
        table = (self.scale_shift_table.unsqueeze(0) + temb.float()).to(hidden_states.dtype)
        shift1, scale1, gate1, shift2, scale2, gate2 = table.unsqueeze(3).unbind(2)  # (B, L, 1, D) each

        def modulate(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
            return torch.addcmul(shift, x.unflatten(1, (frames, -1)), 1 + scale).flatten(1, 2)

        def gated(x: torch.Tensor, update: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
            return torch.addcmul(x.unflatten(1, (frames, -1)), update.unflatten(1, (frames, -1)), gate).flatten(1, 2)

        x = hidden_states
        width = (x.shape[-1],)
        h = modulate(F.layer_norm(x, width, eps=self.norm1.eps), scale1, shift1)
        x = gated(x, self.attn1(h, None, None, rotary_emb), gate1)
        norm: Any = self.norm2
        h = F.layer_norm(x, width, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)
        x = x + self.attn2(h, encoder_hidden_states, None, None)
        h = modulate(F.layer_norm(x, width, eps=self.norm3.eps), scale2, shift2)
        return gated(x, self.ffn(h), gate2)


def use_frame_blocks(model: Any) -> None:
    """Let a `WanTransformer3DModel`'s blocks run as `FrameBlock`s, parameters untouched."""
    for block in model.blocks:
        block.__class__ = FrameBlock
        block.attn1.set_processor(FrameAttnProcessor())
        block.attn2.set_processor(FrameAttnProcessor())
