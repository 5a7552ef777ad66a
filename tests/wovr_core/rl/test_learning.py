"""End to end on a toy: masked GRPO must teach a TinyVLA what its rewards say, from its own samples alone."""

from __future__ import annotations

import numpy as np
import torch

from wovr_core.policy.tiny_vla import TinyVLA, TinyVLAConfig, build
from wovr_core.rl.advantages import discounted_return
from wovr_core.rl.grpo_loss import grpo_loss
from wovr_core.rl.loss_mask import valid_steps

CONFIG = TinyVLAConfig(image_size=16, bins=9, width=16, blocks=1, keypoints=4, hidden=32, text=8)
GROUP, DECISIVE, TEMPERATURE = 24, 3, 1.2


def picture(side: int, rng: np.random.Generator) -> torch.Tensor:
    """(1, 16, 16, 3): a bright square on the left (-1) or on the right (+1), at any height."""
    frame = rng.integers(0, 40, (16, 16, 3), dtype=np.uint8)
    x, y = (3 if side < 0 else 10), int(rng.integers(1, 12))
    frame[y : y + 3, x : x + 3] = 250
    return torch.from_numpy(frame)[None]


def reaches(actions: torch.Tensor, side: int) -> torch.Tensor:
    """(G, 8, 7) -> success (G, 8): decided at one step only, by whether it moves to the square's side."""
    success = torch.zeros(actions.shape[:2], dtype=torch.bool)
    success[:, DECISIVE] = side * actions[:, DECISIVE, 0] > 0.3
    return success


def success_rate(policy: TinyVLA) -> float:
    rng, generator = np.random.default_rng(99), torch.Generator().manual_seed(99)
    rates = []
    for side in (-1, 1) * 4:
        frames = picture(side, rng).expand(50, -1, -1, -1)
        chunk = policy.act(frames, ["reach"] * 50, torch.zeros(50, 7), temperature=TEMPERATURE, generator=generator)
        rates.append(float(reaches(chunk.actions, side).any(1).float().mean()))
    return float(np.mean(rates))


def test_masked_grpo_raises_the_reward() -> None:
    policy = build(CONFIG, seed=0)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    before = success_rate(policy)
    assert 0.2 < before < 0.45  # 3 of 9 bins are right

    for _ in range(80):
        optimizer.zero_grad()
        for side in (-1, 1):
            seen = (picture(side, rng).expand(GROUP, -1, -1, -1), ["reach"] * GROUP, torch.zeros(GROUP, 7))
            chunk = policy.act(*seen, temperature=TEMPERATURE, generator=generator)
            success = reaches(chunk.actions, side)
            new = policy.log_prob(*seen, chunk.tokens, temperature=TEMPERATURE)
            loss, metrics = grpo_loss(
                new[:, None],
                chunk.log_probs[:, None],
                discounted_return(success, discount=0.99),
                valid_steps(success)[:, None],
            )
            assert (
                metrics["dropped"] or abs(metrics["ratio_max"] - 1) < 1e-4
            )  # on policy at the first update of each batch
            loss.backward()
        optimizer.step()

    assert success_rate(policy) > before + 0.4
    left, right = (policy.act(picture(s, rng), ["reach"], torch.zeros(1, 7)).actions[0, :, 0] for s in (-1, 1))
    assert left[DECISIVE] < -0.3
    assert right[DECISIVE] > 0.3
