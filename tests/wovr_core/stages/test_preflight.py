"""The preflight counts what is there; the recipes for GPUs are what they say."""

import math

import pytest
import torch

from wovr_core import recipes
from wovr_core.config import from_dict, override, to_dict
from wovr_core.errors import WovrError
from wovr_core.recipes import Recipe
from wovr_core.stages.preflight import preflight

GIB = 2**30


def test_the_5b_model_in_full_on_eight_large_gpus():
    config = recipes.wan22_5b().world_model
    alone, eight = preflight(config, 1, 80 * GIB, 990), preflight(config, 8, 80 * GIB, 990)
    assert 5.0e9 < alone.parameters == alone.trained < 5.1e9
    assert alone.optimizer == 2 * alone.gradients == 8 * alone.parameters
    assert eight.optimizer == alone.optimizer // 8
    assert not alone.fits
    assert eight.fits
    with pytest.raises(WovrError, match="gpu24"):
        alone.require()
    eight.require()
    tokens = 4 * 8 * 8 * 4  # latent frames, patches, batch
    assert alone.operations == pytest.approx(4 * 2 * alone.parameters * tokens, rel=0.05)
    assert alone.step_seconds == pytest.approx(alone.operations / (990e12 * 0.35))
    assert "DOES NOT FIT" in alone.lines()[1]
    assert (preflight(config).fits is None) is not torch.cuda.is_available()  # asked of the GPU here, if there is one


def test_adapters_on_a_bf16_base_fit_one_gpu_of_48():
    config = override(
        recipes.wan22_5b().world_model,
        ["transformer.large.lora.rank=32", "pretrained.dtype=bfloat16", "transformer.batch=1"],
    )
    found = preflight(config, 1, 48 * GIB)
    assert found.fits
    # rank * (in + out) per adapted layer, and the two action channels in full
    d, f = 3072, 14336
    adapters = 30 * 32 * (8 * (d + d) + 2 * (d + f))
    channels = (7 * d + d) + (d * d + d) + (28 * 4 * d + 4 * d) + (4 * d * d + d)
    assert found.trained == adapters + channels


def test_the_24_gb_recipe_fits_24_gb_with_100_to_300_million():
    recipe = recipes.gpu24()
    found = preflight(recipe.world_model, 1, 24 * GIB, 165)
    assert 100e6 < found.parameters < 300e6
    assert found.fits
    assert recipe.world_model.model.image_size == 128
    assert recipe.world_model.model.latent_side == 16
    assert 1 < found.hours < 100


@pytest.mark.parametrize("name", ["wan22_5b", "gpu24"])
def test_large_recipes_are_whole(name):
    recipe = recipes.get(name)
    recipes.check(recipe)
    assert from_dict(Recipe, to_dict(recipe), name) == recipe
    assert math.isclose(recipe.world_model.model.sigma_shift, 5.0 if name == "wan22_5b" else 1.0)
