"""What RLinf does with a Wan folder, written from the description of its formats; it knows nothing of our code.

Small: two heads of 12, two layers. The video autoencoder is whoever's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file

HEADS, DIM = 2, 24


@dataclass
class Start:
    """One file as the environment begins with it."""

    frames: np.ndarray
    """u8 (5, H, W, 3)"""
    actions: np.ndarray
    """(5, 7)"""
    task: str


class Folder:
    """Reads what a configuration names, in the order in which RLinf's environment does."""

    def __init__(self, configuration: Path) -> None:
        config: dict[str, Any] = yaml.safe_load(configuration.read_text())
        self.config, self.train = config, config["env"]["train"]
        train = self.train
        assert train["num_frames"] == train["condition_frame_length"] + train["chunk"]
        assert train["total_num_envs"] % config["algorithm"]["group_size"] == 0
        self.files = sorted(Path(train["initial_image_path"]).glob("*.npy"))
        assert len(self.files) >= train["total_num_envs"]
        self.transformer = load_file(train["model_path"])
        self.vae = torch.load(train["VAE_path"], weights_only=True)
        self.reward = torch.load(train["reward_model"]["from_pretrained"], weights_only=True)

    def start(self, path: Path) -> Start:
        """A reference, and the last four frames where there are so many more and KIR is on; whatever the name."""
        rows = np.load(path, allow_pickle=True)
        context = self.train["condition_frame_length"]
        frames, actions = np.stack([rows[0]["image"]] * context), np.zeros((context, 7), np.float32)
        if self.train["reset_gripper_open"]:
            actions[:, -1] = -1
        if self.train["enable_kir"] and len(rows) >= context:
            for i, row in enumerate(rows[1 - context :], start=1):
                frames[i], actions[i] = row["image"], row["delta_action"]
        assert list(frames.shape[1:3]) == self.train["image_size"]
        task = rows[0]["instruction"]
        return Start(frames, actions, task.decode() if isinstance(task, bytes) else task)

    def success(self, frames: torch.Tensor, task: int = 0) -> torch.Tensor:
        """u8 (N, H, W, 3) -> (N,) by the reward model; `task`: of the suite's, by the alphabet."""
        s, x = self.reward, frames.permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.train["reward_model"]["type"] == "ResnetRewModel":
            return torch.sigmoid(F.linear(trunk(s, "net", x), s["net.7.weight"], s["net.7.bias"]))[:, 0]
        told = s["task_embedding.weight"][task].expand(len(x), -1)
        y = torch.cat([trunk(s, "visual_encoder", x), told], 1)
        y = F.relu(F.linear(y, s["fusion_layer.0.weight"], s["fusion_layer.0.bias"]))
        return torch.sigmoid(F.linear(y, s["fusion_layer.3.weight"], s["fusion_layer.3.bias"]))[:, 0]


def rms(x, weight):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


def rope(x, f, h, w):
    """(B, N, heads, d): pairs of neighbouring channels turned by their position in time, height and width."""
    d = x.shape[-1]
    sizes = (d - 4 * (d // 6), 2 * (d // 6), 2 * (d // 6))
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (f, h, w)), indexing="ij"), -1).reshape(-1, 3)
    angles = [
        grid[:, i : i + 1].double() / 10000 ** (torch.arange(0, size, 2).double() / size)
        for i, size in enumerate(sizes)
    ]
    turn = torch.polar(torch.ones(1, dtype=torch.float64), torch.cat(angles, 1))[None, :, None]
    turned = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous()) * turn
    return torch.view_as_real(turned).flatten(-2).float()


def attention(s, p, x, context, grid=None):
    def heads(name, y):
        return F.linear(y, s[f"{p}.{name}.weight"], s[f"{p}.{name}.bias"])

    q, k = rms(heads("q", x), s[f"{p}.norm_q.weight"]), rms(heads("k", context), s[f"{p}.norm_k.weight"])
    q, k, v = (t.unflatten(-1, (HEADS, -1)) for t in (q, k, heads("v", context)))
    if grid:
        q, k = rope(q, *grid), rope(k, *grid)
    weights = torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(q.shape[-1])
    out = torch.einsum("bhnm,bmhd->bnhd", weights.softmax(-1), v).flatten(2)
    return heads("o", out)


def reference_velocity(s, x, timesteps, actions):
    """x (B, C, L, h, w), timesteps (B, L), actions (B, 13, 7) -> (B, C, L, h, w); s in Wan's names."""
    batch, channels, frames, height, width = x.shape
    grid = (frames, height // 2, width // 2)
    per_frame = grid[1] * grid[2]
    tokens = F.conv3d(x, s["patch_embedding.weight"], s["patch_embedding.bias"], stride=(1, 2, 2)).flatten(2).mT
    frequencies = 10000 ** (-torch.arange(128).double() / 128)
    angles = timesteps.double()[..., None] * frequencies
    e = torch.cat([angles.cos(), angles.sin()], -1).float()

    def mlp(prefix, y, act):
        y = act(F.linear(y, s[f"{prefix}.0.weight"], s[f"{prefix}.0.bias"]))
        return F.linear(y, s[f"{prefix}.2.weight"], s[f"{prefix}.2.bias"])

    e = mlp("time_embedding", e, F.silu)
    grouped = torch.cat([actions[:, :1]] * 3 + [actions], 1).reshape(batch, 4, 28)
    e = e + mlp("action_mlp2", grouped, F.silu)
    e6 = F.linear(F.silu(e), s["time_projection.1.weight"], s["time_projection.1.bias"]).unflatten(-1, (6, DIM))
    context = mlp("action_mlp1", actions, F.gelu)  # (B, 13, D)
    spread = lambda t: t.repeat_interleave(per_frame, 1)  # noqa: E731
    layer_norm = lambda t: F.layer_norm(t, (DIM,), eps=1e-6)  # noqa: E731
    for i in range(2):
        p = f"blocks.{i}"
        shift1, scale1, gate1, shift2, scale2, gate2 = (spread(t) for t in (s[f"{p}.modulation"] + e6).unbind(2))
        y = layer_norm(tokens) * (1 + scale1) + shift1
        tokens = tokens + attention(s, f"{p}.self_attn", y, y, grid) * gate1
        y = F.layer_norm(tokens, (DIM,), s[f"{p}.norm3.weight"], s[f"{p}.norm3.bias"], eps=1e-6)
        tokens = tokens + attention(s, f"{p}.cross_attn", y, context)
        y = layer_norm(tokens) * (1 + scale2) + shift2
        tokens = tokens + mlp(f"{p}.ffn", y, lambda t: F.gelu(t, approximate="tanh")) * gate2
    shift, scale = (spread(t) for t in (s["head.modulation"] + e[:, :, None]).unbind(2))
    out = F.linear(layer_norm(tokens) * (1 + scale) + shift, s["head.head.weight"], s["head.head.bias"])
    out = out.view(batch, *grid, 1, 2, 2, channels)
    return torch.einsum("bfhwpqrc->bcfphqwr", out).reshape(x.shape)


def reference_chunk(s, vae, stats, seen, actions, noise):
    """seen u8 (B, 5, H, W, 3), actions (B, 13, 7) -> the 8 next frames, u8."""
    mean, std = stats
    z = vae.encode(seen.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).latent_dist.mean
    known = (z - mean) / std
    x = noise.clone()
    x[:, :, :2] = known
    sigmas = np.linspace(1, 0, 6)[:-1]
    sigmas = [*(5 * sigmas / (1 + 4 * sigmas)), 0.0]
    for n in range(5):
        times = torch.tensor([[0.0, 0.0, 1000 * sigmas[n], 1000 * sigmas[n]]]).expand(len(x), -1)
        x = x + reference_velocity(s, x, times, actions) * (sigmas[n + 1] - sigmas[n])
        x[:, :, :2] = known
    pixels = vae.decode(x * std + mean).sample.clamp(-1, 1)
    return ((pixels + 1) * 127.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)[:, 5:]


def trunk(s: dict[str, torch.Tensor], prefix: str, x: torch.Tensor) -> torch.Tensor:
    """The published network, from its names alone."""

    def conv(p, y, stride=1, padding=1):
        return F.conv2d(y, s[f"{p}.weight"], s[f"{p}.bias"], stride, padding)

    def norm(p, y):
        view = (1, -1, 1, 1)
        mean, var = s[f"{p}.running_mean"].view(view), s[f"{p}.running_var"].view(view)
        return (y - mean) / (var + 1e-5).sqrt() * s[f"{p}.weight"].view(view) + s[f"{p}.bias"].view(view)

    x = F.max_pool2d(F.relu(norm(f"{prefix}.0.1", conv(f"{prefix}.0.0", x, 2, 3))), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            p = f"{prefix}.{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = F.relu(norm(f"{p}.bn1", conv(f"{p}.conv1", x, stride)))
            y = norm(f"{p}.bn2", conv(f"{p}.conv2", y))
            assert (f"{p}.conv3.weight" in s) == (stride == 2)
            x = F.relu(y + (conv(f"{p}.conv3", x, stride, 0) if stride == 2 else x))
    return x.mean(dim=(2, 3))
