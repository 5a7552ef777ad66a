"""Labels, balance, and a classifier that must find a small thing and obey the instruction."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.reward import classifier as rc
from wovr_core.reward.labels import (
    LabelConfig,
    LabelledFrames,
    balanced_weights,
    label_episodes,
    merge,
    outcomes_of,
)
from wovr_core.types import Episode, TaskId

CONFIG = rc.RewardConfig(image_size=32, width=8, embedding_dim=6, brightness=0.05, noise=0.02)


def episode(name: str, success_from: int | None, length: int = 50) -> Episode:
    success = np.zeros(length + 1, dtype=bool)
    if success_from is not None:
        success[success_from:] = True
    frames = (
        np.zeros((length + 1, 32, 32, 3), dtype=np.uint8) + np.arange(length + 1, dtype=np.uint8)[:, None, None, None]
    )
    return Episode(name, TaskId("s", 0, "do it"), 0, "expert", frames, np.zeros((length, 7), dtype=np.float32), success)


def test_labels_keep_all_successes_and_near_misses() -> None:
    config = LabelConfig(stride=10, near_miss=5, tail=3, hard_weight=4.0)
    data = label_episodes([episode("won", 40), episode("lost", None)], config)
    won = [int(f[0, 0, 0]) for f, e in zip(data.frames, data.episodes, strict=True) if e == "won"]
    lost = [int(f[0, 0, 0]) for f, e in zip(data.frames, data.episodes, strict=True) if e == "lost"]
    assert won == [0, 10, 20, 30, *range(35, 51)]
    assert lost == [0, 10, 20, 30, 40, 48, 49, 50]
    assert data.labels.sum() == 11
    hard = {(e, int(f[0, 0, 0])) for e, f, w in zip(data.episodes, data.frames, data.weights, strict=True) if w == 4}
    assert hard == {("won", t) for t in range(35, 40)} | {("lost", t) for t in (48, 49, 50)}


def test_balance_gives_both_classes_the_same_total() -> None:
    labels = np.array([True, False, False, False])
    weights = balanced_weights(labels, np.array([1, 1, 1, 2], dtype=np.float32))
    np.testing.assert_allclose(weights, [2, 0.5, 0.5, 1])
    with pytest.raises(WovrError, match="no successful one"):
        balanced_weights(np.zeros(2, dtype=bool), np.ones(2, dtype=np.float32))


def test_audit_samples_are_merged_with_their_weights() -> None:
    data = label_episodes([episode("won", 40)])
    unknown = np.full(2, np.nan, dtype=np.float32)
    extra = LabelledFrames(
        data.frames[:2], ("it",) * 2, np.zeros(2, dtype=bool), np.full(2, 5, dtype=np.float32), ("audit",) * 2, unknown
    )
    both = merge([data, extra])
    assert len(both) == len(data) + 2
    assert both.weights[-2:].tolist() == [5, 5]
    assert both.outcomes[-2:].tolist() == pytest.approx([np.nan] * 2, nan_ok=True)
    with pytest.raises(WovrError, match="no episodes"):
        label_episodes([])


def scenes(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A red or blue 3 x 3 spot in the left or right half; the instruction names the colour that must be left."""
    rng = np.random.default_rng(seed)
    frames = np.full((n, 32, 32, 3), 90, dtype=np.uint8)
    colour, left, asked = rng.integers(0, 2, (3, n))
    for i in range(n):
        y, x = rng.integers(2, 27), (rng.integers(2, 8) if left[i] else rng.integers(22, 27))
        frames[i, y : y + 3, x : x + 3] = (220, 30, 30) if colour[i] else (30, 30, 220)
    embeddings = np.eye(6, dtype=np.float32)[asked]
    labels = (colour == asked) & (left == 1)
    return torch.from_numpy(frames), torch.from_numpy(embeddings), torch.from_numpy(labels)


def test_the_outcome_of_a_frame_is_what_comes_after_it() -> None:
    lost_again = np.array([False, False, True, True, False, False])
    assert outcomes_of(lost_again).tolist() == [1, 1, 1, 1, 0, 0]
    assert outcomes_of(np.zeros(3, dtype=bool)).tolist() == [0, 0, 0]


def test_a_second_output_learns_what_will_come() -> None:
    model = rc.build(replace(CONFIG, outcome=True)).train()
    g = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    frames, embeddings, labels = scenes(512, 0)
    red = (frames[..., 0] > 180).flatten(1).any(1)  # whatever is asked: what the first output cannot mean
    outcomes = red.float()
    outcomes[::4] = torch.nan
    for _ in range(60):
        i = torch.randint(512, (64,), generator=g)
        loss, metrics = model.loss(frames[i], embeddings[i], labels[i], torch.ones(64), g, outcomes[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert np.isfinite(metrics["reward/outcome_loss"])
    frames, embeddings, _ = scenes(200, 1)
    red = (frames[..., 0] > 180).flatten(1).any(1)
    judge = model.outcome_function(lambda texts: torch.stack([embeddings[int(t)] for t in texts]))
    assert judge is not None
    p = judge(frames, [str(i) for i in range(200)])
    assert ((p > 0.5) == red).float().mean() > 0.95


def test_without_it_none_is_promised() -> None:
    plain = rc.build(CONFIG)
    assert plain.outcome_function(lambda texts: torch.zeros(len(texts), 6)) is None
    with pytest.raises(WovrError, match=r"reward\.model\.outcome=true"):
        plain.p_outcome(torch.zeros(1, 32, 32, 3, dtype=torch.uint8), torch.zeros(1, 6))


def test_it_learns_a_small_spot_and_the_instruction() -> None:
    model = rc.build(CONFIG).train()
    g = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    frames, embeddings, labels = scenes(512, 0)
    weights = torch.from_numpy(balanced_weights(labels.numpy(), np.ones(512, dtype=np.float32)))
    for _ in range(150):
        i = torch.randint(512, (48,), generator=g)
        loss, _ = model.loss(frames[i], embeddings[i], labels[i], weights[i], g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    frames, embeddings, labels = scenes(200, 1)
    p = model.p_success(frames, embeddings)
    assert ((p > 0.5) == labels).float().mean() > 0.9
    swapped = embeddings[:, [1, 0, 2, 3, 4, 5]]
    assert (model.p_success(frames, swapped) - p).abs()[labels].mean() > 0.5


def test_building_is_seeded_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    a, b = rc.build(CONFIG), rc.build(CONFIG)
    assert torch.equal(torch.get_rng_state(), before)
    frames, embeddings, _ = scenes(4, 0)
    assert torch.equal(a.logits(frames, embeddings), b.logits(frames, embeddings))


def test_scaling_is_stored_with_the_weights() -> None:
    model, again = rc.build(CONFIG), rc.build(CONFIG)
    model.temperature.fill_(2.0)
    model.bias.fill_(0.5)
    again.load_state_dict(model.state_dict())
    frames, embeddings, _ = scenes(4, 0)
    expected = 1 / (1 + np.exp(-(model.logits(frames, embeddings).numpy() / 2 + 0.5)))
    np.testing.assert_allclose(again.p_success(frames, embeddings).numpy(), expected, rtol=1e-5)


def test_reward_function_embeds_each_instruction_once() -> None:
    asked: list[str] = []

    def embed(texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.eye(6)[: len(texts)]

    judge = rc.build(CONFIG).reward_function(embed)
    frames, _, _ = scenes(4, 0)
    first = judge(frames, ["a", "b", "a", "b"])
    assert torch.equal(first, judge(frames, ["a", "b", "a", "b"]))
    assert asked == ["a", "b"]


def test_augmentation_is_seeded_and_changes_pixels() -> None:
    pixels = rc.build(CONFIG).pixels(scenes(4, 0)[0])
    one, two = (rc.augment(pixels, CONFIG, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert 0.001 < (one - pixels).abs().mean() < 0.3


def test_bad_input_is_named() -> None:
    model = rc.build(CONFIG)
    with pytest.raises(WovrError, match="u8 frames"):
        model.p_success(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 6))
    with pytest.raises(WovrError, match="embeddings"):
        model(torch.zeros(2, 3, 32, 32), torch.zeros(2, 384))
