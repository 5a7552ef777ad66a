"""Steering by hand: sliders become a chunk, players are asked for frames, what is kept is built upon."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("ipywidgets")

from PIL import Image

from workbench.widgets import Steering
from wovr_core.errors import WovrError
from wovr_core.types import FloatArray, Frames

asked: list[FloatArray] = []


def counting(actions: FloatArray) -> Frames:
    """Frame t is as bright as the sum of the first t actions' dz, plus 100."""
    asked.append(actions)
    light = 100 + 10 * np.concatenate([[0.0], np.cumsum(actions[:, 2])])
    return np.broadcast_to(light[:, None, None, None], (len(light), 8, 8, 3)).round().astype(np.uint8)


@pytest.fixture
def steering() -> Steering:
    asked.clear()
    return Steering({"a": counting, "b": counting}, shown=3, scale=2)


def test_a_slider_holds_one_action_for_a_chunk(steering: Steering) -> None:
    steering.sliders["dz"].value = 0.5
    steering.gripper.value = 1.0
    assert steering.chunk.shape == (8, 7)
    assert (steering.chunk == np.array([0, 0, 0.5, 0, 0, 0, 1], np.float32)).all()
    assert asked[-1].dtype == np.float32
    np.testing.assert_array_equal(steering.frames["a"][:, 0, 0, 0], 100 + 5 * np.arange(9))


def test_the_strip_has_a_row_for_each_player(steering: Steering) -> None:
    picture = np.asarray(Image.open(io.BytesIO(steering.strip.value)))
    assert picture.shape == (2 * 16 + 2, 3 * 16 + 4, 3)
    assert "<b>a</b> above <b>b</b>" in steering.said.value


def test_what_is_kept_is_built_upon_until_the_restart(steering: Steering) -> None:
    steering.sliders["dz"].value = 1.0
    steering.keep()
    steering.sliders["dz"].value = -1.0
    assert steering.actions.shape == (8, 7)
    np.testing.assert_array_equal(steering.frames["b"][:, 0, 0, 0], 180 - 10 * np.arange(9))
    assert "chunk 2" in steering.said.value
    steering.restart()
    assert len(steering.actions) == 0
    assert steering.frames["b"][0, 0, 0, 0] == 100


def test_a_player_that_can_go_no_further_says_so_and_the_strip_stays() -> None:
    def tired(actions: FloatArray) -> Frames:
        if len(actions) > 8:
            raise WovrError("all 1 chunks are imagined")
        return counting(actions)

    limited = Steering({"a": tired})
    before = limited.strip.value
    limited.keep()
    assert limited.said.value == "all 1 chunks are imagined"
    assert limited.strip.value == before != b""


def test_without_a_player_there_is_nothing_to_steer() -> None:
    with pytest.raises(WovrError, match="at least one player"):
        Steering({})
