"""Views: crops of the camera's picture that are drawn as such, and what the workspace view shows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.envs.libero_views import VIEWS, View, apply_view, find_view
from wovr_core.errors import UnknownNameError, WovrError


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'workspace'"):
        find_view("workspce")


@pytest.mark.parametrize("bad", [(-0.1, 0, 0.5), (0.6, 0, 0.5), (0, 0.6, 0.5), (0, 0, 0)])
def test_views_outside_the_picture_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(WovrError, match="does not lie in the picture"):
        View(*bad)


def test_a_view_is_the_crop_of_the_stock_picture() -> None:
    env = LiberoEnv(LiberoConfig(size=512), 0)
    whole = env.reset(0)
    for view in (View(0.0625, 0.125, 0.75), View(0.25, 0.5, 0.5)):
        left, top, size = (round(512 * x) for x in (view.left, view.top, view.size))
        cropped = shrink(whole[top : top + size, left : left + size])
        apply_view(env.model, "agentview", view)
        seen = shrink(env.frame())
        assert np.abs(cropped - seen).mean() < 2
        assert np.abs(cropped - seen[:, ::-1]).mean() > 10
        apply_view(env.model, "agentview", View())
        assert np.array_equal(env.frame(), whole)
    with pytest.raises(WovrError, match="no camera"):
        apply_view(env.model, "sideview_that_is_not", view)
    env.close()


def shrink(picture: np.ndarray) -> np.ndarray:
    small = Image.fromarray(np.ascontiguousarray(picture)).resize((64, 64), Image.Resampling.BOX)
    return np.asarray(small).astype(np.float64)


def in_picture(env: LiberoEnv, points: np.ndarray) -> np.ndarray:
    """World points (N, 3) -> (N, 2) fractions of the full stored picture, from pose and angle of the camera."""
    camera = env.model.camera("agentview").id
    local = (points - env.data.cam_xpos[camera]) @ env.data.cam_xmat[camera].reshape(3, 3)
    half = np.tan(np.radians(env.model.cam_fovy[camera]) / 2)
    return 0.5 - 0.5 * local[:, :2] / -local[:, 2:] / half


def check_workspace(task: int) -> None:
    view = VIEWS["workspace"]
    env = LiberoEnv(LiberoConfig(size=16), task)
    for seed in range(3):
        env.reset(seed)
        names = [name for name in env.poses() if name not in ("eef", "floor")]
        model, data = env.model, env.data
        roots = {model.body(f"{name}_main").id if f"{name}_main" in bodies(model) else -1 for name in names}
        corners = [data.site_xpos[env.model.site("gripper0_grip_site").id][None]]
        for geom in range(model.ngeom):
            if model.body_rootid[model.geom_bodyid[geom]] in roots and model.geom_contype[geom]:
                box = model.geom_aabb[geom]
                signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3)
                turned = (box[:3] + signs * box[3:]) @ data.geom_xmat[geom].reshape(3, 3).T
                corners.append(data.geom_xpos[geom] + turned)
        assert len(corners) > len(names)
        seen = (in_picture(env, np.concatenate(corners)) - [view.left, view.top]) / view.size
        assert seen.min() > 0
        assert seen.max() < 1
    env.close()


def bodies(model: object) -> set[str]:
    return {model.body(i).name for i in range(model.nbody)}  # type: ignore[attr-defined]


def test_the_workspace_view_shows_everything() -> None:
    check_workspace(4)


@pytest.mark.slow
@pytest.mark.parametrize("task", [0, 1, 2, 3, 5, 6, 7, 8, 9])
def test_the_workspace_view_shows_everything_on_the_other_tasks(task: int) -> None:
    check_workspace(task)
