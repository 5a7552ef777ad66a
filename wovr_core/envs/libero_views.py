"""Views: which part of a camera's picture is drawn, at any resolution, at no cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.errors import UnknownNameError, WovrError


@dataclass(frozen=True)
class View:
    """A square part of the stock picture, as fractions of its side, *in PICTURE_CONVENTION* (rotated_180).

    `left` is measured from the left edge of the stored picture, which is mirrored against what a person at
    the camera sees; `top` from its upper edge, which shows the upper edge of the scene.
    """

    left: float = 0.0
    top: float = 0.0
    size: float = 1.0

    def __post_init__(self) -> None:
        right, bottom = self.left + self.size, self.top + self.size
        if self.size <= 0 or self.left < 0 or self.top < 0 or right > 1 + 1e-9 or bottom > 1 + 1e-9:
            raise WovrError(
                f"view left={self.left} top={self.top} size={self.size} does not lie in the picture: "
                "left, top >= 0, size > 0, left + size <= 1 and top + size <= 1"
            )


VIEWS: dict[str, View] = {"full": View(), "workspace": View(left=0.045, top=0.02, size=0.78)}
"""Named views of LIBERO's agentview camera; "workspace" is made for LIBERO-Object."""


def find_view(name: str) -> View:
    """The named view; raises UnknownNameError."""
    if name not in VIEWS:
        raise UnknownNameError("view", name, VIEWS)
    return VIEWS[name]


def apply_view(model: Any, camera: str, view: View) -> None:
    """Let `camera` of an mjModel show only `view` of its stock picture, at any resolution, at no cost.

    The camera keeps its place; its frustum becomes the part of the stock frustum that the view covers: a
    pinhole of focal length 1 whose sensor is as large as that part and whose principal point lies off its
    centre. MuJoCo ignores fovy once a sensor size is set; the stock angle stays in cam_fovy, so a later
    call can set another view.
    """
    import mujoco

    index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
    if index < 0:
        raise WovrError(f"the scene has no camera {camera!r}")
    if view == View():
        model.cam_sensorsize[index] = 0
        return
    half = np.tan(np.radians(model.cam_fovy[index]) / 2)
    sensor = 2 * half * view.size
    # offsets of the view's centre from the picture's, in half-pictures, x to the camera's right, y down:
    # the stored picture is mirrored, its left is the camera's right
    right = 1 - (2 * view.left + view.size)
    down = (2 * view.top + view.size) - 1
    model.cam_sensorsize[index] = sensor
    model.cam_intrinsic[index] = [1.0, 1.0, half * right, half * down]
