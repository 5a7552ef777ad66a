"""What an environment shows beside its main picture: the wrist's camera, depth, and who covers which pixel.

All in PICTURE_CONVENTION, at the frame's size. Depth and segmentation are of the main camera and follow its
view; both come out of one pass without light or texture, which costs less than a frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wovr_core.envs.gl import OffscreenRenderer
from wovr_core.errors import UnknownNameError

STREAMS = ("wrist", "depth", "segmentation")
WRIST_CAMERA = "robot0_eye_in_hand"
BACKGROUND, ROBOT, GRIPPER = "background", "robot", "gripper"
"""The first three names of every segmentation: what belongs to the room, the arm with its mount, the hand."""


def check_streams(streams: tuple[str, ...]) -> None:
    """Raise UnknownNameError unless all are names of STREAMS."""
    for name in streams:
        if name not in STREAMS:
            raise UnknownNameError("stream", name, STREAMS)


class StreamCamera:
    """Draws the streams of one LIBERO simulation with its renderer. Fixed once the scene is compiled."""

    def __init__(self, domain: Any, renderer: OffscreenRenderer, streams: tuple[str, ...]) -> None:
        check_streams(streams)
        self._renderer = renderer
        self._streams = streams
        self.names, self._id_of_geom = segmentation_ids(domain)

    def draw(self, data: Any) -> dict[str, npt.NDArray[Any]]:
        """The streams asked for, by name.

        "wrist": (H, W, 3) u8 RGB; "depth": (H, W) f32, metres along the camera's axis;
        "segmentation": (H, W) u8, an index into `names`.
        """
        drawn: dict[str, npt.NDArray[Any]] = {}
        if "wrist" in self._streams:
            drawn["wrist"] = _turned(self._renderer.render(data, WRIST_CAMERA))
        if "depth" in self._streams or "segmentation" in self._streams:
            geoms, depth = self._renderer.render_geoms(data)
            if "depth" in self._streams:
                drawn["depth"] = _turned(depth)
            if "segmentation" in self._streams:
                drawn["segmentation"] = _turned(self._id_of_geom[geoms])
        return drawn


def segmentation_ids(domain: Any) -> tuple[tuple[str, ...], npt.NDArray[np.uint8]]:
    """The names of a LIBERO simulation's parts, and which of them each geom belongs to.

    Names are the three of every scene, then in alphabetical order the objects and fixtures by LIBERO's names
    and the table by the name of LIBERO's workspace. The same for every renderer, process and seed.

    Returns:
        names, and (ngeom + 1,) u8 indices into them; the last, which index -1 finds, is the background's.
    """
    model = domain.sim.model._model
    robot = domain.robots[0]
    owned = {**domain.objects_dict, **domain.fixtures_dict}
    roots = {model.body(owned[name].root_body).id: name for name in owned}
    roots[model.body(robot.robot_model.root_body).id] = ROBOT
    roots[model.body(robot.gripper.root_body).id] = GRIPPER
    tables = (domain.workspace_name, domain.workspace_name.removeprefix("main_"), "table")
    for body in range(1, model.nbody):
        if model.body_parentid[body] == 0 and body not in roots and model.body(body).name in tables:
            roots[body] = domain.workspace_name
    names = (BACKGROUND, ROBOT, GRIPPER, *sorted(set(roots.values()) - {ROBOT, GRIPPER}))
    owner = np.zeros(model.nbody, dtype=np.uint8)
    for body in range(1, model.nbody):  # parents come first
        name = roots.get(body)
        owner[body] = owner[model.body_parentid[body]] if name is None else names.index(name)
    return names, np.append(owner[model.geom_bodyid], np.uint8(0))


def _turned(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(picture[::-1, ::-1])
