"""A rollout of an imagined environment that is arithmetic, and a policy that always pushes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tally import Tally
from workbench.branch import keyframe_of
from wovr_core.imagination import imagine_actions
from wovr_core.types import CHUNK, Rollout


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
