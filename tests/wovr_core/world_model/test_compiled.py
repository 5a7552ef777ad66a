"""Compiled blocks compute what eager ones do, and leave no trace."""

import logging

import pytest
import torch

from wovr_core.world_model import compiled
from wovr_core.world_model.compiled import compiled_blocks


@pytest.fixture
def batch(small_model):
    latents = torch.randn(2, 4, small_model.codec.channels, 4, 4, generator=torch.Generator().manual_seed(0))
    side = small_model.config.codec.image_size // small_model.config.codec.spatial
    latents = torch.nn.functional.interpolate(latents.flatten(0, 1), size=side).unflatten(0, (2, 4))
    return latents, torch.zeros(2, 13, 7)


@pytest.mark.slow
def test_losses_and_gradients_agree(small_model, batch):
    def gradients():
        small_model.zero_grad()
        loss, _ = small_model.loss(*batch, torch.Generator().manual_seed(1))
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in small_model.transformer.parameters() if p.grad is not None]

    loss, eager = gradients()
    with compiled_blocks(small_model.transformer):
        first = gradients()
        second = gradients()
    torch.testing.assert_close(first[0], loss, rtol=2e-2, atol=1e-3)
    norm = torch.cat([g.flatten() for g in eager]).norm()
    assert torch.cat([(a - b).flatten() for a, b in zip(eager, first[1], strict=True)]).norm() < 0.05 * norm
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert torch.equal(gradients()[0], loss)


def test_without_a_compiler_it_stays_eager(small_model, batch, monkeypatch, caplog):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    loss, _ = small_model.loss(*batch, torch.Generator().manual_seed(1))
    with caplog.at_level(logging.INFO), compiled_blocks(small_model.transformer):
        again, _ = small_model.loss(*batch, torch.Generator().manual_seed(1))
    assert torch.equal(loss, again)
    assert "no C++ compiler" in caplog.text
