"""OpenGL without a screen: the choice of backend, and pictures that belong to the model asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from wovr_core.envs import gl
from wovr_core.errors import MissingDependencyError, WovrError

SCENE = """
<mujoco><visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual><worldbody>
  <camera name="top" pos="0 0 2" fovy="90"/>
  <geom type="box" size=".2 .2 .01" pos="{x} {y} 0" rgba="{rgba}"/>
</worldbody></mujoco>
"""


@pytest.fixture
def fresh_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The backend is chosen anew within the test, and the process keeps what it had."""
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setenv("PYOPENGL_PLATFORM", "egl")
    gl._choose.cache_clear()
    yield monkeypatch
    gl._choose.cache_clear()


def renderer(x: float, y: float, rgba: str, size: int = 40) -> tuple[gl.OffscreenRenderer, object]:
    gl.prepare()
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE.format(x=x, y=y, rgba=rgba))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return gl.OffscreenRenderer(model, "top", size), data


def test_check_opens_a_real_context() -> None:
    report = gl.check()
    assert report.ok, report.advice
    assert report.backend in ("egl", "osmesa")
    assert report.renderer
    assert report.advice == ""


@pytest.mark.parametrize(
    ("wanted", "egl", "osmesa", "chosen"),
    [("", True, True, "egl"), ("", False, True, "osmesa"), ("osmesa", True, True, "osmesa"),
     ("EGL ", True, False, "egl"), ("glfw", False, False, "glfw")],
)  # fmt: skip
def test_the_backend_follows_what_is_there_and_what_is_asked(
    fresh_choice: pytest.MonkeyPatch, wanted: str, egl: bool, osmesa: bool, chosen: str
) -> None:
    fresh_choice.setenv("MUJOCO_GL", wanted)
    fresh_choice.setattr(gl, "egl_works", lambda: egl)
    fresh_choice.setattr(gl, "osmesa_works", lambda: osmesa)
    assert gl.prepare() == chosen
    assert os.environ["MUJOCO_GL"] == chosen


@pytest.mark.parametrize(("wanted", "package"), [("", "libegl1"), ("egl", "libegl1"), ("osmesa", "libosmesa6")])
def test_a_missing_backend_names_the_package(fresh_choice: pytest.MonkeyPatch, wanted: str, package: str) -> None:
    fresh_choice.setenv("MUJOCO_GL", wanted)
    fresh_choice.setattr(gl, "egl_works", lambda: wanted == "osmesa")
    fresh_choice.setattr(gl, "osmesa_works", lambda: wanted == "egl")
    with pytest.raises(MissingDependencyError, match=f"apt-get install .*{package}"):
        gl.prepare()
    report = gl.check()
    assert not report.ok
    assert package in report.advice


def test_rendering_switched_off_is_an_error(fresh_choice: pytest.MonkeyPatch) -> None:
    fresh_choice.setenv("MUJOCO_GL", "disable")
    with pytest.raises(WovrError, match="unset it"):
        gl.prepare()


def test_the_first_row_is_the_lowest() -> None:
    one, data = renderer(-0.7, 1.0, "1 0 0 1")  # left of and above the centre, as the camera sees it
    picture = one.render(data)
    assert picture.shape == (40, 40, 3)
    assert picture.dtype == np.uint8
    rows, columns = np.nonzero(picture[..., 0] > 128)
    # depth 2, fovy 90: one metre is 10 pixels; rows count upwards
    assert rows.mean() == pytest.approx(19.5 + 10, abs=0.6)
    assert columns.mean() == pytest.approx(19.5 - 7, abs=0.6)
    one.close()
    one.close()


def test_renderers_do_not_mix_their_models() -> None:
    red, red_data = renderer(0, 0, "1 0 0 1")
    before = red.render(red_data)
    blue, blue_data = renderer(0.5, 0, "0 0 1 1", size=64)
    for _ in range(2):
        assert np.array_equal(red.render(red_data), before)
        picture = blue.render(blue_data)
        assert picture[..., 2].max() > 128
        assert picture[..., 0].max() < 64
    blue.close()
    assert np.array_equal(red.render(red_data), before)
    red.close()


def test_any_thread_may_draw() -> None:
    one, data = renderer(0, 0, "1 0 0 1")
    expected = one.render(data)
    seen: list[np.ndarray] = []

    def draw() -> None:
        seen.extend(one.render(data) for _ in range(5))

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        seen.append(one.render(data))
    for thread in threads:
        thread.join()
    assert len(seen) == 20
    assert all(np.array_equal(picture, expected) for picture in seen)
    one.close()


def test_an_unknown_camera_is_named_with_those_there_are() -> None:
    gl.prepare()
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE.format(x=0, y=0, rgba="1 1 1 1"))
    with pytest.raises(WovrError, match=r"no camera 'front'.*top"):
        gl.OffscreenRenderer(model, "front", 32)
