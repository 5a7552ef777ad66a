"""Stretches imagined together are those imagined alone."""

from collections.abc import Callable

import numpy as np
import pytest

from wovr_core.errors import WovrError
from wovr_core.types import FloatArray, Frames
from wovr_core.world_model.closed_loop import Stretch, imagine_episode, imagine_stretches
from wovr_core.world_model.model import WorldModel

EpisodeMaker = Callable[..., tuple[Frames, FloatArray]]


@pytest.mark.parametrize("batch", [2, 8])
def test_company_changes_nothing_but_rounding(small_model: WorldModel, make: EpisodeMaker, batch: int) -> None:
    lengths = [(1, 0), (2, 0), (0, 0), (1, 8)]  # chunks, start
    stretches = [Stretch(*make(i), chunks, seed=i, start=start) for i, (chunks, start) in enumerate(lengths)]
    together = imagine_stretches(small_model, stretches, 1, batch=batch)
    assert [len(m) for m in together] == [8, 16, 0, 8]
    for s, made in zip(stretches, together, strict=True):
        alone = imagine_episode(small_model, s.frames, s.actions, s.chunks, 1, s.seed, s.start)
        np.testing.assert_allclose(made.astype(int), alone, atol=2)


def test_nothing_to_imagine_and_too_much(small_model: WorldModel, make: EpisodeMaker) -> None:
    assert imagine_stretches(small_model, [], 1) == []
    frames, actions = make(0)
    with pytest.raises(WovrError, match="9 chunks from frame 8 need more than the episode"):
        imagine_stretches(small_model, [Stretch(frames, actions, 1, 0), Stretch(frames, actions, 9, 0, 8)], 1)
