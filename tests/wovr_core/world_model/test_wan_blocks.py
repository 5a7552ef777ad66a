"""Attention multiplied out on the CPU is the fused kernel's, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from wovr_core.world_model.wan_blocks import SHORT, attend


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (64, 16), (SHORT + 1, 7)])
def test_attention_is_the_same(queries: int, keys: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, queries, 8), (2, 3, keys, 8), (2, 3, keys, 8)]
    ours, theirs = ([torch.randn(s, generator=generator).requires_grad_() for s in shapes] for _ in range(2))
    for a, b in zip(ours, theirs, strict=True):
        b.data.copy_(a.data)
    weight = torch.randn(shapes[0], generator=generator)
    out, reference = attend(*ours), F.scaled_dot_product_attention(*theirs)
    torch.testing.assert_close(out, reference, atol=1e-5, rtol=1e-5)
    (out * weight).sum().backward()
    (reference * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)
