"""Wrist camera, depth and segmentation: against rays cast through the pixels, and fast against stock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.envs.libero_streams import STREAMS
from wovr_core.envs.libero_views import VIEWS, View
from wovr_core.errors import UnknownNameError
from wovr_core.types import FloatArray, IntArray

SIZE = 96
CONFIG = LiberoConfig("libero_spatial", size=SIZE, streams=STREAMS, view="workspace")


@pytest.fixture(scope="module")
def env() -> Iterator[LiberoEnv]:
    env = LiberoEnv(CONFIG, 0)
    env.reset(0)
    yield env
    env.close()


def cast_rays(env: LiberoEnv, pixels: IntArray, view: View) -> tuple[FloatArray, list[int]]:
    """Depth (N,) along the camera's axis and the geom hit, for pixels (N, 2) as row, column of the picture."""
    import mujoco

    model, data = env.model, env.data
    camera = model.camera("agentview").id
    half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    place = np.array([view.top, view.left]) + view.size * (pixels + 0.5) / SIZE  # fractions of the stock picture
    right, up = half * (1 - 2 * place[:, 1]), half * (1 - 2 * place[:, 0])  # its left is the camera's right
    local = np.stack([right, up, -np.ones(len(pixels))], axis=1)
    directions = local @ data.cam_xmat[camera].reshape(3, 3).T
    shown = np.array([0, 1, 1, 1, 1, 1], dtype=np.uint8)  # without the collision shapes
    depth, hit = [], []
    for direction in directions:
        geom = np.zeros(1, np.int32)
        length = np.linalg.norm(direction)
        origin = data.cam_xpos[camera]
        distance = mujoco.mj_ray(model, data, origin, direction / length, shown, 1, -1, geom, None)
        depth.append(distance / length)
        hit.append(int(geom[0]))
    return np.array(depth), hit


def test_depth_and_segmentation_are_what_rays_find(env: LiberoEnv) -> None:
    streams = env.streams()
    depth, segmentation = streams["depth"], streams["segmentation"]
    assert depth.shape == segmentation.shape == (SIZE, SIZE)
    assert depth.dtype == np.float32
    assert segmentation.dtype == np.uint8
    pixels = np.random.default_rng(0).integers(0, SIZE, (400, 2))
    expected, geoms = cast_rays(env, pixels, VIEWS["workspace"])
    model = env.model
    agree, near = [], []
    for (row, column), distance, geom in zip(pixels, expected, geoms, strict=True):
        root = model.body(model.body_rootid[model.geom_bodyid[geom]]).name
        name = env.segmentation_names[segmentation[row, column]]
        agree.append(
            root.startswith(name) or (root, name) in (("world", "background"), ("table", "main_table"))
            or (root == "robot0_base" and name in ("robot", "gripper"))
        )  # fmt: skip
        near.append(abs(depth[row, column] - distance) < 0.002)
    # rays and the rasteriser part at outlines only
    assert np.mean(agree) > 0.98
    assert np.mean(near) > 0.95
    seen = {env.segmentation_names[i] for i in np.unique(segmentation)}
    assert {"robot", "gripper", "main_table", "akita_black_bowl_1", "plate_1", "wooden_cabinet_1"} <= seen


def test_both_profiles_show_the_same_things(env: LiberoEnv) -> None:
    stock = LiberoEnv(LiberoConfig(**{**CONFIG.__dict__, "profile": "reference"}), 0)
    try:
        stock.restore(env.sim_state())
        ours, theirs = env.streams(), stock.streams()
        assert env.segmentation_names == stock.segmentation_names
        for index, name in enumerate(env.segmentation_names):
            mine, other = ours["segmentation"] == index, theirs["segmentation"] == index
            if other.sum() >= 20:
                overlap = (mine & other).sum() / (mine | other).sum()
                assert overlap > (0.9 if other.sum() > 100 else 0.75), name
        assert np.median(np.abs(ours["depth"] - theirs["depth"])) < 1e-4
        assert np.quantile(np.abs(ours["depth"] - theirs["depth"]), 0.9) < 0.005
    finally:
        stock.close()


def test_the_wrist_is_its_own_camera_and_frames_stay_as_they_were(env: LiberoEnv) -> None:
    before = env.frame()
    wrist = env.streams()["wrist"]
    assert np.array_equal(env.frame(), before)
    other = LiberoEnv(LiberoConfig("libero_spatial", size=SIZE, camera="robot0_eye_in_hand"), 0)
    try:
        assert np.array_equal(other.restore(env.sim_state()), wrist)
        assert other.streams() == {}
    finally:
        other.close()
    assert not np.array_equal(wrist, before)


def test_an_unknown_stream_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'depth'"):
        LiberoConfig(streams=("dept",))
