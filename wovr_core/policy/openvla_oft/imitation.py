"""What the stage of imitation asks of OpenVLA-OFT: its loss on a batch that is disturbed as TinyVLA's is."""

from __future__ import annotations

import torch

from wovr_core.policy.openvla_oft.policy import OpenVLAOFT
from wovr_core.policy.sft import SFTBatch, SFTLossConfig, random_shift


def imitation_loss(
    policy: OpenVLAOFT, batch: SFTBatch, generator: torch.Generator, config: SFTLossConfig, *, autocast: bool
) -> tuple[torch.Tensor, dict[str, float]]:
    """`OpenVLAOFT.sft_loss` of shifted pictures. The previous action is not looked at, so it is not disturbed either.

    Args:
        policy: in training.
        batch: B samples.
        generator: of the shifts.
        autocast: compute in bfloat16.
    """
    frames = random_shift(batch.frames, config.max_shift, generator)
    with torch.autocast(policy.lm_head.weight.device.type, torch.bfloat16, enabled=autocast):
        return policy.sft_loss(frames, batch.instructions, batch.actions, batch.mask_padding, config.smoothing)
