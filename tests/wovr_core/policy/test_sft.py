"""SFT: the dataset's tables against the episodes, the loss against numpy, and learning itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.instructions import embed
from wovr_core.policy.sft import SFTDataset, SFTLossConfig, random_shift, sft_loss
from wovr_core.policy.tiny_vla import TinyVLAConfig, build
from wovr_core.types import NULL_ACTION, Episode, TaskId

TINY = TinyVLAConfig(image_size=32, bins=9, width=16, blocks=1, keypoints=8, hidden=64, text=8)
PLAIN = SFTLossConfig(max_shift=0, previous_noise=0.0, previous_dropout=0.0, smoothing=0.0)


def episode(name: str, length: int, instruction: str, seed: int, clean: bool = True) -> Episode:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (length, 7)).astype(np.float32)
    return Episode(
        id=name,
        task=TaskId("toy", 0, instruction),
        seed=seed,
        source="expert",
        frames=rng.integers(0, 256, (length + 1, 32, 32, 3), dtype=np.uint8),
        actions=actions,
        success=np.zeros(length + 1, dtype=bool),
        clean_actions=actions * 0.5 if clean else None,
    )


@pytest.fixture
def episodes() -> list[Episode]:
    return [episode("a", 13, "left", 0), episode("b", 5, "right", 1, clean=False), episode("c", 20, "left", 2)]


def test_every_sample_is_what_the_episode_says(episodes: list[Episode]) -> None:
    data = SFTDataset(episodes)
    assert len(data) == 13 + 5 + 20
    batch = data.gather(torch.arange(len(data)))
    vectors = {text: embed([text])[0] for text in ("left", "right")}
    row = 0
    for one in episodes:
        labels = one.actions if one.clean_actions is None else one.clean_actions
        for t in range(one.length):
            np.testing.assert_array_equal(batch.frames[row], one.frames[t])
            np.testing.assert_array_equal(batch.text[row], vectors[one.task.instruction])
            np.testing.assert_array_equal(batch.previous_actions[row], one.actions[t - 1] if t else NULL_ACTION)
            real = min(8, one.length - t)
            assert batch.mask_padding[row].tolist() == [True] * real + [False] * (8 - real)
            np.testing.assert_array_equal(batch.actions[row, :real], labels[t : t + real])
            row += 1
    wanted = np.concatenate([e.actions if e.clean_actions is None else e.clean_actions for e in episodes])
    np.testing.assert_array_equal(data.actions, wanted)


def test_batches_come_from_their_generator(episodes: list[Episode]) -> None:
    data = SFTDataset(episodes)
    first, again, other = (data.sample(16, torch.Generator().manual_seed(s)).frames for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_shift_moves_whole_pictures(episodes: list[Episode]) -> None:
    frames = torch.from_numpy(episodes[2].frames)
    shifted = random_shift(frames, 3, torch.Generator().manual_seed(0))
    assert shifted.shape == frames.shape
    assert shifted.dtype == torch.uint8
    offsets = set()
    for before, after in zip(frames.numpy(), shifted.numpy(), strict=True):
        padded = np.pad(before, ((3, 3), (3, 3), (0, 0)), mode="edge")
        found = [
            (dy, dx) for dy in range(7) for dx in range(7) if np.array_equal(padded[dy : dy + 32, dx : dx + 32], after)
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 10  # each picture has its own


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_masked_cross_entropy(episodes: list[Episode], smoothing: float) -> None:
    data = SFTDataset(episodes)
    policy = build(TINY)
    policy.action_bins.fit(data.actions)
    batch = data.gather(torch.arange(len(data)))
    config = SFTLossConfig(max_shift=0, previous_noise=0.0, previous_dropout=0.0, smoothing=smoothing)
    loss, metrics = sft_loss(policy, batch, torch.Generator().manual_seed(0), config)

    logits = policy(batch.frames, batch.text, batch.previous_actions).detach().double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    tokens = policy.action_bins.encode(batch.actions).numpy()
    total, count, right = 0.0, 0, 0
    for b, c, a in np.ndindex(tokens.shape):
        if not batch.mask_padding[b, c]:
            continue
        token = tokens[b, c, a]
        beside = (log_p[b, c, a, max(token - 1, 0)] + log_p[b, c, a, min(token + 1, 8)]) / 2
        total -= (1 - smoothing) * log_p[b, c, a, token] + smoothing * beside
        right += log_p[b, c, a].argmax() == token
        count += 1
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert metrics["token_accuracy"] == pytest.approx(right / count, rel=1e-5)


def test_padding_teaches_nothing(episodes: list[Episode]) -> None:
    data = SFTDataset(episodes)
    policy = build(TINY)
    batch = data.gather(torch.arange(len(data)))
    before = sft_loss(policy, batch, torch.Generator(), PLAIN)[0].item()
    batch.actions[~batch.mask_padding] = 0.77
    assert sft_loss(policy, batch, torch.Generator(), PLAIN)[0].item() == before


def test_the_previous_gripper_is_kept_and_the_motion_disturbed(episodes: list[Episode]) -> None:
    seen = {}
    data = SFTDataset(episodes)
    policy = build(TINY)
    policy.register_forward_pre_hook(lambda _module, inputs: seen.update(previous=inputs[2]))
    batch = data.gather(torch.arange(len(data)))
    config = SFTLossConfig(previous_noise=0.2, previous_dropout=0.5)
    sft_loss(policy, batch, torch.Generator().manual_seed(0), config)
    previous = seen["previous"]
    assert torch.equal(previous[:, 6], batch.previous_actions[:, 6])
    hidden = (previous[:, :6] == 0).all(1)
    assert 0.2 < float(hidden.float().mean()) < 0.8
    noise = (previous - batch.previous_actions)[~hidden, :6]
    assert 0.1 < float(noise.std()) < 0.3


def test_it_learns_to_go_where_the_picture_and_the_instruction_say() -> None:
    """A bright square lies left or right; "towards" and "away" turn the sign. Nothing else tells."""
    rng = np.random.default_rng(0)
    episodes = []
    for k in range(40):
        side, sign = (-1) ** k, (-1) ** (k // 2)
        frames = rng.integers(0, 60, (9, 32, 32, 3), dtype=np.uint8)
        x, y = 16 + side * 9, int(rng.integers(6, 26))
        frames[:, y - 3 : y + 3, x - 3 : x + 3] = 230
        actions = np.zeros((8, 7), dtype=np.float32)
        actions[:, 0] = 0.5 * side * sign
        task = TaskId("toy", 0, "go towards the square" if sign > 0 else "go away from the square")
        episodes.append(Episode(str(k), task, k, "expert", frames, actions, np.zeros(9, dtype=bool)))
    data, unseen = SFTDataset(episodes[:32]), SFTDataset(episodes[32:])
    policy = build(TINY)
    policy.action_bins.fit(data.actions)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    config = SFTLossConfig(max_shift=2, previous_dropout=1.0)  # what was done last would give it away
    generator = torch.Generator().manual_seed(0)
    for _ in range(250):
        loss, _ = sft_loss(policy, data.sample(32, generator), generator, config)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch = unseen.gather(torch.arange(0, len(unseen), 8))  # 8 unseen pictures, at their first step
    hidden = torch.zeros_like(batch.previous_actions)
    hidden[:, 6] = batch.previous_actions[:, 6]
    decided = policy.action_bins.decode(policy(batch.frames, batch.text, hidden).argmax(-1))
    assert torch.equal(decided.sign()[:, 0, 0], batch.actions.sign()[:, 0, 0])


def test_no_or_unlike_episodes_are_refused(episodes: list[Episode]) -> None:
    with pytest.raises(WovrError, match="at least one"):
        SFTDataset([])
    odd = Episode("z", episodes[0].task, 0, "expert", np.zeros((3, 16, 16, 3), np.uint8), np.zeros((2, 7), np.float32),
                  np.zeros(3, dtype=bool))  # fmt: skip
    with pytest.raises(WovrError, match="one size"):
        SFTDataset([*episodes, odd])
