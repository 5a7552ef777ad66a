"""The skills of picking up and placing: approach, grasp, carry, release, retreat.

Each looks at one instant only, a `Sight`. No phase, counter or wait is kept, so whoever imitates them is asked
nothing that a picture does not show, and they recover from whatever noise did. Progress shows in the scene
itself: fingers around an object close, what both of them touch is held, and what is held is carried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wovr_core.envs.expert.hand import CLOSE, OPEN, OPEN_WIDTH, Hand, move
from wovr_core.envs.expert.shapes import FINGER_BELOW, FINGER_SPOTS, Grip, seen_from_above
from wovr_core.envs.expert.solids import Blocks
from wovr_core.envs.expert.travel import heights_to_clear
from wovr_core.types import FloatArray, StateArray


@dataclass(frozen=True)
class SkillConfig:
    """How the demonstrator moves. Lengths in m."""

    funnel: float = 6.0
    """Height kept above a goal, per metre of sideways error: the hand sinks as it gets over the object."""
    clearance: float = 0.015
    """Room between what moves and what it passes over."""
    lift: float = 0.05
    """Height above its goal at which the hand travels where nothing stands in the way."""
    over: float = 0.02
    """Sideways error at which an object counts as over its target."""
    tilt: float = 0.12
    """Angle (rad) from the vertical beyond which the hand is righted on its way."""
    askew: float = 0.15
    """Angle (rad) from the turn in which a long object fits a narrow region, at most, when it is let go."""
    above_rim: float = 0.02
    """Height of the fingertips above a container's rim where they let go: open fingers just clear it."""


@dataclass(frozen=True)
class Place:
    """Where an object belongs; m, world frame."""

    xy: StateArray
    """(2,) for the object's origin."""
    support: float
    """Height of what it is to stand on."""
    rim: float | None = None
    """Height of the rim of the container that it is to be dropped into, or None to put it down."""
    turn: float = 0.0
    """What it has yet to turn about the vertical to fit, rad."""
    snug: bool = False
    """Whether it fits so narrowly that it has to be over its place to the millimetre, as a book in a rack."""


@dataclass(frozen=True)
class Sight:
    """What is visible at one instant; m, world frame, z up."""

    hand: Hand
    origin: StateArray
    """(3,) of the object to be moved."""
    low: StateArray
    """(3,) lowest x, y, z of it."""
    high: StateArray
    """(3,) highest x, y, z of it."""
    grip: Grip
    held: bool
    """Whether both fingers touch it."""
    place: Place
    satisfied: bool
    """Whether it is where the goal wants it."""
    obstacles: Blocks
    """Other things."""

    def with_object_at(self, origin: StateArray) -> Sight:
        """The same, were the object there."""
        by = origin - self.origin
        grip = replace(self.grip, point=self.grip.point + by)
        return replace(self, origin=self.origin + by, low=self.low + by, high=self.high + by, grip=grip)

    def with_place_moved(self, by: StateArray) -> Sight:
        """The same, were the place (2,) `by` beside where it is."""
        return replace(self, place=replace(self.place, xy=self.place.xy + by))


def decide(sight: Sight, config: SkillConfig) -> FloatArray:
    """(7,) the action to take at this instant: whichever skill fits."""
    if is_over_place(sight, config) and (sight.held or is_between_fingers(sight)):
        return release(sight)
    if sight.held:
        return carry(sight, config)
    if sight.satisfied:
        return retreat()
    return grasp(sight) if is_between_fingers(sight) else approach(sight, config)


# ------------------------------------------------------------------------------------ what is the case


def is_between_fingers(sight: Sight) -> bool:
    """Whether closing the fingers would take the object. Fingers that are closing tolerate more error."""
    slack = 0.0 if sight.hand.is_open else 0.012
    error = sight.grip.point - sight.hand.position
    near = bool(np.linalg.norm(error[:2]) < 0.010 + slack and abs(error[2]) < 0.012 + slack)
    return near and abs(sight.grip.turn) < 0.12 + 10 * slack


def closed_upon(sight: Sight) -> bool:
    """Whether the fingers are around the object and as close as it is wide."""
    return is_between_fingers(sight) and sight.hand.width < sight.grip.width + 0.006


def is_over_place(sight: Sight, config: SkillConfig) -> bool:
    """Whether an object let go now would come to lie where it belongs."""
    if float(np.linalg.norm(sight.place.xy - sight.origin[:2])) > config.over or abs(sight.place.turn) > config.askew:
        return False
    if sight.place.rim is not None:
        return float(sight.hand.position[2]) < _release_height(sight, config) + 0.015
    return sight.satisfied or float(sight.low[2]) < sight.place.support + 0.004


def is_clear(sight: Sight) -> bool:
    """Whether the hand may move sideways without dragging the object along."""
    beside = float(np.linalg.norm((sight.grip.point - sight.hand.position)[:2])) > 0.04
    above = float(sight.hand.position[2]) - FINGER_BELOW > float(sight.high[2])
    return not sight.held and (beside or above)


# ---------------------------------------------------------------------------------------------- skills


def approach(sight: Sight, config: SkillConfig) -> FloatArray:
    """Open hand to the object from above, over what stands between, turned so that it clears what is near."""
    goal, hand = sight.grip.point, sight.hand
    sideways = float(np.linalg.norm((goal - hand.position)[:2]))
    loose = float(np.clip((OPEN_WIDTH - sight.grip.width) / 2, 0.002, 0.006))  # wide things leave little room
    off = max(sideways - loose, 0.0) + 0.05 * max(abs(sight.grip.turn) - 0.1, 0.0)
    if not hand.is_open:
        off += 0.02  # half-closed fingers would land on the object
    above = min(config.funnel * off, float(sight.high[2] - goal[2]) + config.lift)
    whole, near = heights_to_clear(hand.position[:2], goal[:2], _finger_spots(hand.yaw), sight.obstacles)
    margin = FINGER_BELOW + config.clearance
    height = max(float(goal[2]) + above, whole + margin)
    tilted = float(np.linalg.norm(hand.tilt)) > config.tilt
    turn = np.array([*(hand.tilt if tilted else np.zeros(2)), sight.grip.turn])
    return _travel(hand, goal[:2], height, near + margin, OPEN, turn)


def grasp(sight: Sight) -> FloatArray:
    """Close the fingers, staying with the object."""
    return move(sight.grip.point - sight.hand.position, CLOSE)


def carry(sight: Sight, config: SkillConfig) -> FloatArray:
    """Held object up, over everything, down to its place: one curve, sideways as far as height allows."""
    hand = sight.hand
    hang = float(hand.position[2] - sight.low[2])
    to_go = sight.place.xy - sight.origin[:2]
    far = max(float(np.linalg.norm(to_go)) - (0.2 if sight.place.snug else 0.6) * config.over, 0.0)
    far += 0.1 * max(abs(sight.place.turn) - 0.5 * config.askew, 0.0)
    spots = np.array([[x, y] for x in (0, 0.5, 1) for y in (0, 0.5, 1)]) * (sight.high - sight.low)[:2] + sight.low[:2]
    dropped = sight.place.rim is not None
    whole, near = heights_to_clear(
        hand.position[:2], hand.position[:2] + to_go, spots - hand.position[:2], sight.obstacles, not dropped
    )
    margin = hang + config.clearance
    lowest = _release_height(sight, config) if dropped else sight.place.support + hang - 0.012
    height = max(min(lowest + config.funnel * far, lowest + config.lift), whole + margin)
    return _travel(hand, hand.position[:2] + to_go, height, near + margin, CLOSE, np.array([0, 0, sight.place.turn]))


def release(sight: Sight) -> FloatArray:
    """Let go, standing still; then up."""
    still_closed = sight.held or sight.hand.width < sight.grip.width + 0.012
    return move(np.zeros(3), OPEN) if still_closed else retreat()


def retreat() -> FloatArray:
    """Open hand straight up, out of the way."""
    return move(np.array([0, 0, 0.03]), OPEN)


def _travel(hand: Hand, xy: StateArray, height: float, needed: float, gripper: float, turn: StateArray) -> FloatArray:
    """To (2,) xy at a height; sideways only as far as the hand has come up to what is needed near by."""
    free = float(np.clip((float(hand.position[2]) - needed) / 0.02 + 1.0, 0, 1))
    action = move(np.array([*(xy - hand.position[:2]), height - hand.position[2]]), gripper, turn)
    action[:2] *= free
    return action


def _release_height(sight: Sight, config: SkillConfig) -> float:
    """Of the hand, where it drops the object into a container: above the rim, and above what lies in it."""
    assert sight.place.rim is not None
    hang = float(sight.hand.position[2] - sight.low[2])
    return max(sight.place.rim + config.above_rim, sight.place.support + hang)


def _finger_spots(yaw: float) -> StateArray:
    return seen_from_above(np.concatenate([FINGER_SPOTS, -FINGER_SPOTS]), yaw)
