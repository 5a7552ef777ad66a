"""The benches' own arithmetic, at the smallest sizes; the timing itself is not a test's business."""

import pytest
import torch

from apps.bench import imagine, train
from wovr_core import recipes
from wovr_core.world_model.model import build


@pytest.fixture(scope="module")
def model():
    return build(recipes.get("smoke").world_model.model).eval()


def test_jobs_count_the_frames_they_make(model):
    recipe = recipes.get("smoke")
    assert imagine._our_loop(recipe, model, 3)() == 3 * 8
    assert imagine._stock_loop(recipe, model, 3, 2)() == 3 * 8
    assert imagine._rollouts(recipe, model, 2, 2)() == 2 * 2 * 8


def test_rounds_alternate_and_the_median_counts(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 3.0, 0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 2.0, 0.0, 2.0, 0.0, 8.0])
    monkeypatch.setattr(imagine.time, "perf_counter", lambda: next(clock))
    order = []
    jobs = {name: lambda name=name: order.append(name) or 12 for name in ("a", "b")}
    # The first round (1 s and 2 s) goes by; a takes 1, 3, 2 s and b 2, 2, 8 s.
    assert imagine._alternate(jobs, 3) == {"a": 6.0, "b": 6.0}
    assert order == ["a", "b"] * 4


def test_the_stock_network_is_as_large_as_ours(model):
    """But for what conditions it: time and text there, time and actions here."""
    from diffusers import WanTransformer3DModel

    built = []
    original = WanTransformer3DModel.__init__

    def remember(self, *args, **kwargs):
        original(self, *args, **kwargs)
        built.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WanTransformer3DModel, "__init__", remember)
        imagine._stock_loop(recipes.get("smoke"), model, 1, 1)
    (stock,) = built
    assert [p.shape for p in stock.blocks.parameters()] == [p.shape for p in model.transformer.blocks.parameters()]
    assert stock.proj_out.weight.shape == model.transformer.proj_out.weight.shape


def test_operations_are_those_of_the_products():
    a, b = torch.zeros(8, 4), torch.zeros(4, 16)
    assert train._operations(lambda: a @ b) == 2 * 8 * 4 * 16


def test_training_steps_train():
    recipe = recipes.get("smoke")
    model = build(recipe.world_model.model)
    steps = [(train._transformer_step, model.transformer), (train._codec_step, model.codec)]
    for make, part in steps:
        step = make(recipe, model)
        before = [p.detach().clone() for p in part.parameters()]
        assert train._operations(step) > 0
        assert any(not torch.equal(a, b) for a, b in zip(before, part.parameters(), strict=True))
