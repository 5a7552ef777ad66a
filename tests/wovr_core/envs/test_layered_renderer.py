"""Layers against the same scene drawn whole: the same picture, never a stale one, and nothing left changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from wovr_core.envs import gl
from wovr_core.envs.layered_renderer import LayeredRenderer
from wovr_core.types import Frames

SIZE = 48
SCENE = """
<mujoco>
  <visual><headlight ambient=".5 .5 .5" diffuse=".4 .4 .4" specular="0 0 0"/></visual>
  <asset>
    <material name="glow" emission="1" rgba="1 1 1 1"/>
    <material name="glass" rgba=".9 .1 .1 .25"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" dir="0 0 -1" castshadow="false"/>
    <camera name="top" pos="0 0 2" fovy="60"/>
    <geom name="floor" type="plane" size="3 3 .1" rgba=".3 .5 .4 1"/>
    <body name="shelf" pos=".4 0 .8"><geom type="box" size=".25 .3 .02" rgba=".2 .2 .9 1"/></body>
    <body name="ball"><freejoint name="ball"/><geom type="sphere" size=".15" rgba=".9 .8 .1 1"/></body>
    <body name="rider" pos="0 0 3"><freejoint name="rider"/><geom type="sphere" size=".05"/>
      <camera name="riding" fovy="60"/></body>
    {extra}
  </worldbody>
</mujoco>
"""
PANE = '<body pos="-.4 0 .6"><geom name="pane" type="box" size=".3 .3 .01" material="glass"/></body>'


class Stage:
    """A scene with a ball that can be put anywhere."""

    def __init__(self, extra: str = "") -> None:
        gl.prepare()
        import mujoco

        self._mujoco = mujoco
        self.model = mujoco.MjModel.from_xml_string(SCENE.format(extra=extra))
        self.data = mujoco.MjData(self.model)
        self.renderer = LayeredRenderer(self.model, "top", SIZE)

    def show(self, *ball: float) -> Frames:
        self.data.joint("ball").qpos[:3] = ball
        self._mujoco.mj_forward(self.model, self.data)
        return self.renderer.render(self.data)

    def whole(self) -> Frames:
        """The same in one go."""
        return self.renderer.render(self.data, "top")

    def anew(self) -> Frames:
        """The same by a renderer without a past."""
        other = LayeredRenderer(self.model, "top", SIZE)
        picture = other.render(self.data)
        other.close()
        return picture


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.renderer.close()


def unlike(first: Frames, second: Frames) -> float:
    """Share of pixels that differ visibly."""
    return float((np.abs(first.astype(int) - second).max(axis=-1) > 24).mean())


@pytest.mark.parametrize("place", [(-0.3, 0.2, 0.3), (0.4, 0.0, 0.4), (0.4, 0.0, 1.1), (0.6, 0.1, 0.8), (5, 5, 5)])
def test_layers_make_the_picture_of_the_whole(stage: Stage, place: tuple[float, ...]) -> None:
    """Beside, below, above and through the shelf, and out of sight."""
    picture = stage.show(*place)
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8
    assert unlike(picture, stage.whole()) < 0.012  # the shelf's edge, by samples laid otherwise
    yellow = int(((picture[..., 0] > 120) & (picture[..., 2] < 60)).sum())
    assert (yellow > 20) == (place[2] in (0.3, 0.8, 1.1))


def test_edges_are_smooth(stage: Stage) -> None:
    """Pixels that a glowing ball half covers have a colour between its own and that of the dark round it."""
    stage.model.vis.headlight.active = 0
    stage.model.light_active[:] = 0
    material = stage.model.mat("glow").id
    stage.model.geom_matid[stage.model.body("ball").geomadr[0]] = material
    stage.model.geom_rgba[stage.model.body("ball").geomadr[0]] = [0.5, 0.5, 0.5, 1]  # the material's, then
    picture = stage.show(-0.3, 0.2, 0.3)[..., 0]
    values, counts = np.unique(picture, return_counts=True)
    assert counts[values > 240].sum() > 20
    assert counts[(values > 30) & (values < 230)].sum() > 8


def test_a_changed_scene_is_never_shown_stale(stage: Stage) -> None:
    stage.show(0, 0, 0.5)
    model = stage.model
    changes = {
        "pose": lambda: model.body_pos[model.body("shelf").id].__setitem__(0, -0.4),
        "colour": lambda: model.geom_rgba[model.geom("floor").id + 1].__setitem__(slice(0, 3), [0, 1, 0]),
        "light": lambda: model.light_active.__setitem__(0, 0),
        "lens": lambda: model.cam_fovy.__setitem__(0, 40),
    }
    for name, change in changes.items():
        before = stage.show(0, 0, 0.5)
        change()
        after = stage.show(0, 0, 0.5)
        assert unlike(before, after) > 0.01, name
        assert np.array_equal(after, stage.anew()), name


def test_a_frame_is_a_function_of_the_state(stage: Stage) -> None:
    first = stage.show(0.1, 0.1, 0.3)
    stage.show(0.5, -0.2, 1.0)
    stage.whole()
    stage.renderer.render_geoms(stage.data)
    assert np.array_equal(stage.show(0.1, 0.1, 0.3), first)
    assert np.array_equal(stage.anew(), first)


def test_masks_in_layers_are_those_of_the_whole(stage: Stage) -> None:
    for place in ((-0.3, 0.2, 0.3), (0.4, 0, 0.4), (0.6, 0.1, 0.8), (0.4, 0, 1.1)):
        stage.show(*place)
        geoms, depth = stage.renderer.render_geoms(stage.data)
        whole, whole_depth = gl.OffscreenRenderer.render_geoms(stage.renderer, stage.data)
        assert np.array_equal(geoms, whole)
        assert np.array_equal(depth, whole_depth)
    stage.model.body_pos[stage.model.body("shelf").id, 0] = -0.4
    stage.show(*place)
    moved = stage.renderer.render_geoms(stage.data)[0]
    assert np.array_equal(moved, gl.OffscreenRenderer.render_geoms(stage.renderer, stage.data)[0])
    assert not np.array_equal(moved, geoms)


@pytest.mark.parametrize("height", [0.2, 0.9])
def test_glass_lets_things_shine_through(height: float) -> None:
    stage = Stage(PANE)
    try:
        model = stage.model
        kept = [model.geom_group.copy(), model.geom_rgba.copy(), model.mat_rgba.copy()]
        picture = stage.show(-0.4, 0.0, height)  # below and above the pane
        assert unlike(picture, stage.whole()) < 0.012
        model.mat_rgba[model.mat("glass").id, 3] = 0
        assert unlike(picture, stage.show(-0.4, 0.0, height)) > 0.02
        model.mat_rgba[model.mat("glass").id, 3] = 0.25
        for before, after in zip(kept, [model.geom_group, model.geom_rgba, model.mat_rgba], strict=True):
            assert np.array_equal(before, after)
    finally:
        stage.renderer.close()


def test_only_what_is_out_of_view_is_left_out(stage: Stage) -> None:
    """Half a ball at each edge of the picture is drawn; beyond, it is skipped and was not to be seen."""
    ball = stage.model.body("ball").geomadr[0]
    half = 2 * np.tan(np.radians(30))  # of the picture, at the floor
    for x, y in ((half, 0), (-half, 0), (0, half), (0, -half)):
        picture = stage.show(x, y, 0.0)
        assert not stage.renderer._out_of_view(stage.data)[ball]
        assert unlike(picture, stage.show(9, 9, 9)) > 0.002
        stage.show(1.3 * x, 1.3 * y, 0.0)
        assert stage.renderer._out_of_view(stage.data)[ball]
        assert unlike(stage.whole(), stage.show(9, 9, 9)) < 0.012


def test_a_camera_that_moves_shows_the_present() -> None:
    stage = Stage()
    moving = LayeredRenderer(stage.model, "riding", SIZE)
    try:
        stage.show(0, 0, 0.3)
        before = moving.render(stage.data)
        stage.data.joint("rider").qpos[0] = 0.8
        stage.show(0, 0, 0.3)
        assert unlike(before, moving.render(stage.data)) > 0.1
        assert np.array_equal(moving.render(stage.data), stage.renderer.render(stage.data, "riding"))
    finally:
        moving.close()
        stage.renderer.close()
