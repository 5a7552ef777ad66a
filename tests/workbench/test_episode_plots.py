"""What the figures of episodes show, read back from their data."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from workbench import episode_plots


def test_pictures_are_shown_as_they_are() -> None:
    picture = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    figure = episode_plots.pictures({"one": picture, "turned": picture[::-1, ::-1]})
    assert [a.text for a in figure.layout.annotations] == ["one", "turned"]
    for image, shown in zip(figure.layout.images, (picture, picture[::-1, ::-1]), strict=True):
        data = base64.b64decode(image.source.partition(",")[2])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), shown)


def test_actions_carry_their_chunks_and_their_success() -> None:
    actions = np.linspace(-1, 1, 16 * 7, dtype=np.float32).reshape(16, 7)
    figure = episode_plots.actions_over_time(actions, first_success=10)
    assert [trace.name for trace in figure.data] == list(episode_plots.ACTIONS)
    np.testing.assert_array_equal(figure.data[6].y, actions[:, 6])
    assert [line.x0 for line in figure.layout.shapes] == [-0.5, 7.5, 15.5, 9.5], "three chunk heads, one success"
    assert figure.layout.annotations[0].text == "success after 0.5 s"


def test_positions_are_in_centimetres_with_y_across() -> None:
    figure = episode_plots.positions({"here": np.array([[0.1, -0.2]])}, "Starts")
    assert (figure.data[0].x[0], figure.data[0].y[0]) == (-20.0, 10.0)


def test_a_response_is_centred_on_nothing() -> None:
    figure = episode_plots.response(np.array([[1.0, -3.0]], np.float32), ["dx"], ["x", "y"], "Moved", "cm")
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-3.0, 3.0)
    assert list(figure.data[0].text[0]) == ["+1.00", "-3.00"]


def test_curves_over_frames_keep_their_names() -> None:
    figure = episode_plots.over_frames({"a": [0.0, 1.0], "b": [2.0]}, "T", "u")
    assert {trace.name: list(trace.y) for trace in figure.data} == {"a": [0.0, 1.0], "b": [2.0]}
