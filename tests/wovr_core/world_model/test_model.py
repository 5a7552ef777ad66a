"""The whole model: seeds, ablations, determinism, learning."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from wovr_core.config import from_dict, to_dict
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.types import FloatArray, Frames
from wovr_core.world_model.ema import Ema
from wovr_core.world_model.model import WorldModel, WorldModelConfig, build
from wovr_core.world_model.windows import LatentWindows

EpisodeMaker = Callable[..., tuple[Frames, FloatArray]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(model: WorldModel, make: EpisodeMaker, episodes: int = 2) -> LatentWindows:
    made = [make(i) for i in range(episodes)]
    return LatentWindows(model.codec, [f for f, _ in made], [a for _, a in made])


def test_building_is_seeded_and_leaves_the_global_generator_alone(small_config: WorldModelConfig) -> None:
    before = torch.get_rng_state()
    a, b, c = build(small_config), build(small_config), build(replace(small_config, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert not torch.equal(a.transformer.proj_out.weight, c.transformer.proj_out.weight)


def test_config_round_trip_and_misspelling(small_config: WorldModelConfig) -> None:
    assert from_dict(WorldModelConfig, to_dict(small_config), "test") == small_config
    with pytest.raises(UnknownNameError, match="did you mean 'layers'"):
        from_dict(WorldModelConfig, {"layer": 3}, "test")
    with pytest.raises(UnknownNameError, match=r"test\.codec"):
        from_dict(WorldModelConfig, {"codec": {"widht": 3}}, "test")


def test_weights_round_trip(small_model: WorldModel, small_config: WorldModelConfig, make: EpisodeMaker) -> None:
    again = build(replace(small_config, seed=7)).eval()
    again.load_state_dict(small_model.state_dict())
    latents, actions = windows(small_model, make).gather([0, 5])
    one, two = (m.imagine_chunk(latents[:, :2], actions, 2, seeded()) for m in (small_model, again))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    "switch",
    [{"anchor": False}, {"recent_frames": 1}, {"actions_in_time": False}, {"actions_in_tokens": False}],
)
def test_each_ablation_changes_what_is_imagined(
    small_config: WorldModelConfig, small_model: WorldModel, make: EpisodeMaker, switch: dict[str, bool | int]
) -> None:
    latents, actions = windows(small_model, make).gather([12, 13])
    other = build(replace(small_config, **switch)).eval()  # type: ignore[arg-type]
    other.load_state_dict(small_model.state_dict(), strict=False)
    one, two = (m.imagine_chunk(latents[:, :2], actions, 1, seeded()) for m in (small_model, other))
    assert (one - two).abs().max() > 1e-3


def test_without_an_anchor_the_reference_is_not_seen(
    small_config: WorldModelConfig, small_model: WorldModel, make: EpisodeMaker
) -> None:
    latents, actions = windows(small_model, make).gather([12])
    changed = latents.clone()
    changed[:, 0] += 3

    def seen(model: WorldModel) -> bool:
        a, b = (model.imagine_chunk(z[:, :2], actions, 1, seeded()) for z in (latents, changed))
        return not torch.equal(a, b)

    assert seen(small_model)
    assert not seen(build(replace(small_config, anchor=False)).eval())


def test_one_recent_frame_hides_the_older_ones(
    small_config: WorldModelConfig, small_model: WorldModel, make: EpisodeMaker
) -> None:
    latents, actions = windows(small_model, make).gather([12])
    changed, older = latents.clone(), actions.clone()
    per_frame = latents.shape[2] // 4
    changed[:, 1, : 3 * per_frame] += 3
    older[:, 1:4] += 1

    def seen(model: WorldModel) -> bool:
        a = model.imagine_chunk(latents[:, :2], actions, 1, seeded())
        return not torch.equal(a, model.imagine_chunk(changed[:, :2], older, 1, seeded()))

    assert seen(small_model)
    assert not seen(build(replace(small_config, recent_frames=1)).eval())


def test_noisy_context_changes_the_training_loss_only(small_config: WorldModelConfig, make: EpisodeMaker) -> None:
    clean = build(replace(small_config, context_noise=0.0)).eval()
    noisy = build(replace(small_config, context_noise=0.8)).eval()
    latents, actions = windows(clean, make).gather([3, 8])
    assert clean.loss(latents, actions, seeded())[0] != noisy.loss(latents, actions, seeded())[0]
    a, b = (m.imagine_chunk(latents[:, :2], actions, 2, seeded()) for m in (clean, noisy))
    assert torch.equal(a, b)


def test_imagining_is_seeded_and_independent_of_batch_mates(small_model: WorldModel, make: EpisodeMaker) -> None:
    latents, actions = windows(small_model, make).gather([2, 9, 14])
    context = latents[:, :2]

    def imagine(rows: list[int]) -> torch.Tensor:
        return small_model.imagine_chunk(context[rows], actions[rows], 3, [seeded(100 + r) for r in rows])

    together = imagine([0, 1, 2])
    assert torch.equal(together, imagine([0, 1, 2]))
    # Matrix products of other sizes may round otherwise; in bf16 to about 2^-8.
    torch.testing.assert_close(together[1:2], imagine([1]), rtol=0, atol=0.1)
    assert (together - small_model.imagine_chunk(context, actions, 3, [seeded(r) for r in range(3)])).abs().max() > 0.5


def test_wrong_shapes_are_named(small_model: WorldModel, make: EpisodeMaker) -> None:
    latents, actions = windows(small_model, make).gather([0])
    with pytest.raises(WovrError, match="one row per frame of the window"):
        small_model.imagine_chunk(latents[:, :2], actions[:, :8], 1, seeded())
    with pytest.raises(WovrError, match="latents must be"):
        small_model.imagine_chunk(latents[:, :1], actions, 1, seeded())


@pytest.mark.parametrize("prediction", ["velocity", "change"])
def test_it_overfits_a_tiny_batch(
    small_config: WorldModelConfig, small_model: WorldModel, make: EpisodeMaker, prediction: str
) -> None:
    model = build(replace(small_config, prediction=prediction, context_noise=0.1))  # type: ignore[arg-type]
    model.codec.load_state_dict(small_model.codec.state_dict())
    latents, actions = windows(model, make).gather([4, 12])
    g = seeded()
    optimizer = torch.optim.AdamW(model.transformer.parameters(), 3e-3)

    def error() -> float:
        made = model.eval().imagine_chunk(latents[:, :2], actions, 2, seeded(1))
        return float((made - latents[:, 2:]).square().mean())

    before = error()
    ema = Ema(model.transformer, decay=0.9)
    for _ in range(150):
        loss, _ = model.train().loss(latents.repeat(4, 1, 1, 1, 1), actions.repeat(4, 1, 1), g)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.transformer.parameters(), 1.0)
        optimizer.step()
        ema.update(model.transformer)
    ema.copy_to(model.transformer)
    still = float((latents[:, 1:2] - latents[:, 2:]).square().mean())
    assert error() < 0.5 * before
    assert error() < 0.8 * still


def test_ema_matches_its_definition_and_resumes() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    ema, expected = Ema(layer, decay=0.5), 0.0
    for n in range(1, 6):
        torch.nn.init.constant_(layer.weight, float(n))
        ema.update(layer)
        d = min(0.5, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * n
    other = Ema(layer, decay=0.5)
    other.load_state_dict(ema.state_dict())
    other.copy_to(layer)
    assert layer.weight.item() == pytest.approx(expected)
    assert other.steps == 5


def test_a_predicted_change_starts_from_the_anchored_context(
    small_config: WorldModelConfig, small_model: WorldModel, make: EpisodeMaker
) -> None:
    latents, actions = windows(small_model, make).gather([12])
    model = build(replace(small_config, prediction="change", change_decay=0.6)).eval()  # says "no change" at first
    made = model.imagine_chunk(latents[:, :2], actions, 1, seeded())
    per_frame = latents.shape[2] // 4
    reference, newest = latents[:, 0, -per_frame:], latents[:, 1, -per_frame:]
    expected = (0.4 * reference + 0.6 * newest).repeat(1, 4, 1, 1)
    torch.testing.assert_close(made[:, 0], expected, rtol=0, atol=0.01)
    torch.testing.assert_close(made[:, 1], expected, rtol=0, atol=0.01)
