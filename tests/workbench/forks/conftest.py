"""An imagined environment that is arithmetic, and a policy that always pushes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from workbench.branch import keyframe_of
from wovr_core.imagination import imagine_actions
from wovr_core.types import CHUNK, Keyframe, Rollout


class Tally:
    """Frames and p_success are the running sum of the first action, plus noise of the row's seed."""

    def __init__(self, most: int = 40) -> None:
        self.config = SimpleNamespace(success_threshold=0.5, max_chunks=most)

    def reset(self, keyframes: list[Keyframe], seeds: list[int]) -> Any:
        self.total = torch.zeros(())
        self.noise = torch.Generator().manual_seed(seeds[0])
        frames = torch.from_numpy(keyframes[0].context_frames[-1:])
        previous = torch.from_numpy(keyframes[0].context_actions[-1:].astype(np.float32))
        return SimpleNamespace(frames=frames, p_success=torch.zeros(1), previous_actions=previous)

    def step(self, actions: torch.Tensor) -> Any:
        assert actions.shape == (1, CHUNK, 7)
        totals = self.total + actions[0, :, 0].cumsum(0)
        self.total = totals[-1]
        jitter = torch.randint(0, 5, (CHUNK, 1, 1, 1), generator=self.noise)
        level = (100 + 10 * totals)[:, None, None, None].round() + jitter
        frames = level.expand(CHUNK, 8, 8, 3).clamp(0, 255).to(torch.uint8)
        return SimpleNamespace(frames=frames[None], p_success=(totals / 10).clamp(0, 1)[None])


class Pusher:
    """Pushes by a tenth of the temperature, plus a draw of its generator."""

    def act(self, frames: Any, instructions: Any, previous: Any, *, temperature: float, generator: Any) -> Any:
        actions = torch.zeros(1, CHUNK, 7)
        actions[..., 0] = temperature / 10 + 0.01 * torch.rand((), generator=generator)
        ones = torch.ones(1, CHUNK, 7)
        return SimpleNamespace(actions=actions, tokens=ones.long(), log_probs=-ones)


@pytest.fixture
def original(make_rollout: Callable[..., Rollout]) -> Rollout:
    """Four chunks, imagined by Tally from actions that stay at zero."""
    rollout = make_rollout("r", chunks=4)
    actions = np.zeros_like(rollout.actions)
    frames, p_success = imagine_actions(Tally(), keyframe_of(rollout), actions, rollout.sampler_seed)  # type: ignore[arg-type]
    return replace(rollout, actions=actions, frames=frames, p_success=p_success)


@pytest.fixture
def tally() -> Callable[..., Any]:
    return Tally


@pytest.fixture
def pusher() -> Any:
    return Pusher()
