"""The action channels, the grouping, and the fast blocks against diffusers' own."""

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor, WanTransformerBlock

from wovr_core.world_model.transformer import ActionWanTransformer, group_actions


def tiny(**switches: bool) -> ActionWanTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ActionWanTransformer(
            num_attention_heads=2, attention_head_dim=16, in_channels=8, out_channels=8, ffn_dim=64, num_layers=2,
            freq_dim=32, **switches,
        )  # fmt: skip


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    times = torch.tensor([[0.0, 0.0, 500.0, 500.0]]).expand(2, -1)
    return torch.randn(2, 4, 8, 4, 4, generator=g), times, torch.randn(2, 13, 7, generator=g)


def test_first_action_is_repeated_to_a_group() -> None:
    actions = torch.arange(13.0).view(1, 13, 1).expand(2, 13, 7)
    assert group_actions(actions)[0, :, 0].tolist() == [0, 0, 0, *range(13)]
    with pytest.raises(ValueError, match="1 \\+ 4 k"):
        group_actions(actions[:, :12])


def test_gradients_reach_both_action_channels() -> None:
    model = tiny()
    latents, times, actions = inputs()
    model.velocity(latents, times, actions).square().mean().backward()
    embedder = model.condition_embedder
    for channel in (embedder.action_time, embedder.action_tokens):
        for parameter in channel.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("switches", [{"actions_in_time": False}, {"actions_in_tokens": False}])
def test_one_channel_alone_still_hears_the_actions(switches: dict[str, bool]) -> None:
    model = tiny(**switches)
    latents, times, actions = inputs()
    a, b = model.velocity(latents, times, actions), model.velocity(latents, times, -actions)
    assert (a - b).abs().max() > 1e-4


def test_without_both_channels_actions_are_not_heard() -> None:
    model = tiny(actions_in_time=False, actions_in_tokens=False)
    latents, times, actions = inputs()
    assert torch.equal(model.velocity(latents, times, actions), model.velocity(latents, times, -actions))


def test_a_single_future_action_matters() -> None:
    model = tiny()
    latents, times, actions = inputs()
    other = actions.clone()
    other[:, -1] += 1
    assert (model.velocity(latents, times, actions) - model.velocity(latents, times, other)).abs().max() > 1e-4


def test_order_of_the_actions_matters_to_the_cross_attention() -> None:
    model = tiny(actions_in_time=False)
    latents, times, actions = inputs()
    turned = torch.cat([actions[:, :5], actions[:, 5:].flip(1)], dim=1)
    assert (model.velocity(latents, times, actions) - model.velocity(latents, times, turned)).abs().max() > 1e-6


def test_fast_blocks_compute_what_diffusers_blocks_do() -> None:
    model = tiny()
    latents, times, actions = inputs()
    with torch.no_grad():
        fast = model.velocity(latents, times, actions)
        for block in model.blocks:
            block.__class__ = WanTransformerBlock
            block.attn1.set_processor(WanAttnProcessor())
            block.attn2.set_processor(WanAttnProcessor())
        embedder = model.condition_embedder
        own = embedder.forward

        def per_token(*args: object, **kwargs: object) -> tuple[object, ...]:
            embedding, projection, tokens, images = own(*args, **kwargs)
            return embedding, projection.repeat_interleave(16, dim=1), tokens, images

        embedder.forward = per_token  # type: ignore[method-assign]
        stock = model.velocity(latents, times, actions)
    torch.testing.assert_close(fast, stock, rtol=1e-4, atol=1e-5)


def test_config_is_registered_and_rebuilds_the_model() -> None:
    model = tiny()
    again = ActionWanTransformer.from_config(model.config)
    again.load_state_dict(model.state_dict())
    latents, times, actions = inputs()
    assert torch.equal(model.velocity(latents, times, actions), again.velocity(latents, times, actions))
