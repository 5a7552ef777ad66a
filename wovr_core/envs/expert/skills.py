"""The scripted expert: a memoryless function from what is visible to an action, composed of skills.

`expert_action` looks at one instant only: hand pose, finger opening, poses of the object, its neighbours and
the target. No phase, counter or wait is kept, so whoever imitates it is asked nothing that a picture does
not show, and it recovers from whatever noise did to it. Progress shows in the scene itself: an object
between the fingers is grasped; fingers as close as the object is wide hold it; what is held is carried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.types import ACTION_DIM, FloatArray

OPEN, CLOSE = -1.0, 1.0
OPEN_WIDTH = 0.074
"""Fingers wider apart than this (m) count as open; they rest at 0.080."""
HAND_BELOW = 0.060
"""The palm's underside is this far (m) above the point between the fingertips."""
HAND_HALF = (0.100, 0.032)
"""Half extents (m) of the hand along and across the line between the fingers."""


@dataclass(frozen=True)
class Shape:
    """What a demonstrator knows of an object, in m, for the pose in which it stands on the floor."""

    top: float
    """Highest point above the body's origin."""
    bottom: float
    """Lowest point below the origin."""
    width: float
    """Distance between the fingers once they hold it."""
    radius: float
    """Of a circle around it, seen from above."""

    @property
    def grip(self) -> float:
        """Height above the origin at which it is taken: as low as the palm allows, the middle at the lowest."""
        return max(self.top - 0.035, 0.003 if self.top < 0.012 else 0.0)


SHAPES: dict[str, Shape] = {
    "alphabet_soup": Shape(0.038, 0.038, 0.063, 0.035),
    "tomato_sauce": Shape(0.038, 0.038, 0.062, 0.035),
    "cream_cheese": Shape(0.009, 0.009, 0.043, 0.046),
    "butter": Shape(0.009, 0.009, 0.039, 0.043),
    "chocolate_pudding": Shape(0.014, 0.013, 0.047, 0.047),
    "salad_dressing": Shape(0.073, 0.073, 0.037, 0.027),
    "ketchup": Shape(0.073, 0.072, 0.036, 0.029),
    "bbq_sauce": Shape(0.052, 0.055, 0.037, 0.023),
    "milk": Shape(0.061, 0.070, 0.053, 0.037),
    "orange_juice": Shape(0.061, 0.070, 0.053, 0.037),
}


def shape_of(name: str) -> Shape:
    """Shape of a LIBERO object such as "butter_1". Raises WovrError for one the expert does not know."""
    category = name.rpartition("_")[0]
    if category not in SHAPES:
        raise WovrError(f"the scripted expert does not know {name!r}; it knows {', '.join(sorted(SHAPES))}")
    return SHAPES[category]


@dataclass(frozen=True)
class SkillConfig:
    """How the expert moves. Lengths in m."""

    reach: float = 0.015
    """Distance at which a motion leaves full speed; 0.015 m is about what one step covers at most."""
    funnel: float = 6.0
    """Height kept above a goal, per metre of sideways error: the hand sinks as it gets over the object."""
    clearance: float = 0.146
    """Carried objects pass above this: the basket's rim and the tallest bottle."""
    release_height: float = 0.165
    """Height of the fingertips where the object is let go: open fingers just clear the rim."""
    over: float = 0.03
    """Sideways error at which the hand counts as over the target."""
    retreat_height: float = 0.26
    """Where the hand goes once the object is in place."""


@dataclass(frozen=True)
class Sight:
    """What is visible at one instant: positions in m, world frame, z up, the floor at 0."""

    hand: FloatArray
    """(3,) the point between the fingertips."""
    yaw: float
    """Turn of the hand about the vertical, rad; 0 when the fingers open along y."""
    width: float
    """Opening of the fingers, 0 to 0.08."""
    object: FloatArray
    """(3,) origin of the object to be moved."""
    shape: Shape
    target: FloatArray
    """(3,) centre of the region where the object belongs."""
    neighbours: FloatArray
    """(N, 4) the other objects: x, y, height of the top, radius."""

    @property
    def grip_point(self) -> FloatArray:
        """(3,) where the fingertips should meet."""
        return self.object + np.array([0, 0, self.shape.grip], dtype=np.float32)


def look(env: Any) -> Sight:
    """Read a LiberoEnv whose goal is to put one object into one region.

    Raises WovrError for another kind of goal, or an object the expert has no shape of.
    """
    goal = env.goal
    if len(goal) != 1 or goal[0][0] != "in" or len(goal[0]) != 3:
        raise WovrError(f"the scripted expert cannot do {env.task}: its goal is {goal}, not one object in one region")
    _, name, region = goal[0]
    poses = env.poses()
    others = [n for n in sorted(poses) if n != name and n.rpartition("_")[0] in SHAPES]
    rows = [(*poses[n][:2], poses[n][2] + shape_of(n).top, shape_of(n).radius) for n in others]
    return Sight(
        hand=poses["eef"][:3],
        yaw=_yaw(poses["eef"][3:]),
        width=env.gripper_width(),
        object=poses[name][:3],
        shape=shape_of(name),
        target=env.site_position(region),
        neighbours=np.array(rows, dtype=np.float32).reshape(-1, 4),
    )


def expert_action(sight: Sight, config: SkillConfig | None = None) -> FloatArray:
    """(7,) the action to take at this instant: approach, grasp, carry, place or retreat, whichever fits."""
    config = config or SkillConfig()
    if is_placed(sight, config):
        return retreat(sight, config)
    if is_between_fingers(sight):
        if is_over_target(sight, config):
            return release()
        return carry(sight, config) if is_held(sight) else grasp(sight, config)
    return approach(sight, config)


# ------------------------------------------------------------------------------------ what is the case


def is_between_fingers(sight: Sight) -> bool:
    """Whether closing the fingers would take the object. Fingers that are closing tolerate more error."""
    slack = 0.0 if sight.width > OPEN_WIDTH else 0.012
    error = sight.grip_point - sight.hand
    return bool(np.linalg.norm(error[:2]) < 0.010 + slack and abs(error[2]) < 0.012 + slack)


def is_held(sight: Sight) -> bool:
    """Whether the fingers are as close as the object is wide; taken askew, fingers of 2 cm meet it earlier."""
    askew = 0.022 * abs(float(np.sin(sight.yaw)))
    return sight.width < sight.shape.width + askew + 0.004


def is_over_target(sight: Sight, config: SkillConfig) -> bool:
    """Whether an object let go now would fall into the region."""
    sideways = float(np.linalg.norm(sight.target[:2] - sight.hand[:2]))
    return sideways < config.over and float(sight.hand[2]) < config.release_height + 0.015


def is_placed(sight: Sight, config: SkillConfig) -> bool:
    """Whether the object lies in the region, out of the fingers."""
    offset = np.abs(sight.object - sight.target)
    inside = bool(offset[0] < 0.06 and offset[1] < 0.06 and offset[2] < 0.06)
    return inside and not (is_between_fingers(sight) and sight.width < OPEN_WIDTH)


# ---------------------------------------------------------------------------------------------- skills


def approach(sight: Sight, config: SkillConfig) -> FloatArray:
    """Open hand to the object from above, turned so that the palm clears what stands near."""
    goal = sight.grip_point
    sideways = float(np.linalg.norm((goal - sight.hand)[:2]))
    turn = clear_yaw(sight) - sight.yaw
    off = max(sideways - 0.006, 0.0) + 0.05 * max(abs(turn) - 0.1, 0.0)
    if sight.width < OPEN_WIDTH:
        off += 0.02  # half-closed fingers would land on the object
    above = min(config.funnel * off, sight.shape.top - sight.shape.grip + 0.05)
    height = np.array([0, 0, above], dtype=np.float32)
    return _action(goal + height - sight.hand, turn, OPEN, config)


def grasp(sight: Sight, config: SkillConfig) -> FloatArray:
    """Close the fingers, staying with the object."""
    return _action(sight.grip_point - sight.hand, 0.0, CLOSE, config)


def carry(sight: Sight, config: SkillConfig) -> FloatArray:
    """Held object up, over everything, down into the target: one curve, sideways as far as height allows."""
    hang = float(sight.hand[2] - sight.object[2]) + sight.shape.bottom
    cruise = max(config.clearance + 0.015 + hang, config.release_height)
    sideways = sight.target[:2] - sight.hand[:2]
    far = max(float(np.linalg.norm(sideways)) - 0.6 * config.over, 0.0)
    height = min(config.release_height + config.funnel * far, cruise)
    # sideways speed grows over the last 5 cm of the climb
    cleared = np.clip((float(sight.hand[2]) - (cruise - 0.06)) / 0.05, 0.0, 1.0) if far > 0.05 else 1.0
    motion = np.array([*(sideways * cleared), height - sight.hand[2]], dtype=np.float32)
    action = _action(motion, 0.0, CLOSE, config)
    action[:2] *= cleared
    return action


def release() -> FloatArray:
    """Let go, standing still."""
    return _action(np.zeros(3, dtype=np.float32), 0.0, OPEN, SkillConfig())


def retreat(sight: Sight, config: SkillConfig) -> FloatArray:
    """Open hand straight up, out of the way."""
    motion = np.array([0, 0, config.retreat_height - sight.hand[2]], dtype=np.float32)
    return _action(motion, 0.0, OPEN, config)


def clear_yaw(sight: Sight) -> float:
    """The smallest turn of the hand (rad) at which its palm clears the neighbours of the object, while it
    lies low; the one that clears most where none does. A lifted object asks for no turn."""
    palm = float(sight.grip_point[2]) + HAND_BELOW
    away = sight.neighbours[sight.neighbours[:, 2] > palm - 0.005]
    if len(away) == 0 or float(sight.object[2]) > sight.shape.bottom + 0.03:
        return 0.0 if len(away) == 0 else sight.yaw
    offset = away[:, :2] - sight.object[:2]
    best, best_room = 0.0, -np.inf
    for degrees in (0, 15, -15, 25, -25, 35, -35, 45, -45):
        yaw = np.radians(degrees)
        along = np.abs(offset @ np.array([-np.sin(yaw), np.cos(yaw)])) - HAND_HALF[0]
        across = np.abs(offset @ np.array([np.cos(yaw), np.sin(yaw)])) - HAND_HALF[1]
        outside = np.hypot(np.maximum(along, 0), np.maximum(across, 0)) + np.minimum(np.maximum(along, across), 0)
        room = float((outside - away[:, 3]).min())
        if room > 0.008:
            return float(yaw)
        if room > best_room + 1e-6:
            best, best_room = float(yaw), room
    return best


def _action(motion: FloatArray, turn: float, gripper: float, config: SkillConfig) -> FloatArray:
    """Full speed until `reach`, then in proportion. A turn below 0.05 rad is left alone: exactly zero."""
    action = np.zeros(ACTION_DIM, dtype=np.float32)
    action[:3] = np.clip(np.asarray(motion) / config.reach, -1, 1)
    if abs(turn) > 0.05:
        action[5] = np.clip(turn / 0.2, -1, 1)
    action[6] = gripper
    return action


def _yaw(quaternion: FloatArray) -> float:
    """Turn about the vertical of a hand that points down; wxyz."""
    w, x, y, z = (float(v) for v in quaternion)
    # first column of the rotation matrix: the line between the fingers, along y when the hand is not turned
    return float(np.arctan2(-(1 - 2 * (y * y + z * z)), 2 * (x * y + w * z)))
