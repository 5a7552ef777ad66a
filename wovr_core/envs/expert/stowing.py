"""Putting things into drawers: dropped where neither the drawer's front nor what hangs over it is in the way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wovr_core.envs.expert.hand import CLOSE, move
from wovr_core.envs.expert.pick_place import PickPlace
from wovr_core.envs.expert.shapes import PALM_SPOTS, best_grip, seen_from_above
from wovr_core.envs.expert.skills import Place, Sight, SkillConfig, decide, is_clear
from wovr_core.envs.expert.solids import Solids, see_solids
from wovr_core.types import FloatArray, StateArray

ROOM = 0.003
"""Between what is let go and what hangs over the drawer, m."""


@dataclass(frozen=True)
class PutInDrawer(PickPlace):
    """Bring an object into an open drawer, ("in", object, drawer's region)."""

    skills: SkillConfig = field(default_factory=lambda: SkillConfig(over=0.012, above_rim=0.006))

    def look(self, env: Any) -> Sight:
        """As `PickPlace` sees it, with a place that is clear of the rest of the cabinet."""
        sight, solids = super().look(env), see_solids(env)
        name, region = self.clause[1:]
        site = env.model.site(region)
        body = int(site.bodyid[0])
        fixture = str(solids.owner[solids.body == body][0])
        centre = np.asarray(env.site_position(region), dtype=np.float64)
        above = (solids.owner == fixture) & (solids.body != body) & (solids.blocks.high > centre[2])
        out = -env.part(region).axis[:2]
        depth = float(np.abs(out) @ np.abs(env.data.site_xmat[site.id].reshape(3, 3) @ site.size)[:2])
        middle = (sight.high + sight.low)[:2] / 2
        half = float(np.abs(out) @ (sight.high - sight.low)[:2]) / 2
        inner = float(centre[:2] @ out) + depth - half - ROOM
        outer = _reach(solids, above, out) + half + ROOM
        along = (inner + outer) / 2 if outer < inner else outer
        xy = centre[:2] + (along - float(centre[:2] @ out)) * out - (middle - sight.origin[:2])
        sight = replace(sight, place=replace(sight.place, xy=xy))
        far_cost = self.grips.side_cost / 2 if outer > inner else 0.0  # held there, it would sit on the drawer's front
        grips = replace(self.grips, side=(float(out[0]), float(out[1])), far_cost=far_cost)
        sight = replace(sight, grip=best_grip(name, solids, sight.hand, grips))
        if sight.held:  # what hangs over the drawer is not on the way, and need not be passed over
            sight = replace(sight, obstacles=solids.blocks[(solids.owner != name) & ~above])
        return sight

    def act(self, env: Any) -> FloatArray:
        """(7,) as `PickPlace`; what is taken up from beneath the open drawer comes out from under it first."""
        sight = self.look(env)
        if sight.held and self._is_under(env, sight):
            return move(np.array([*(-0.03 * env.part(self.clause[2]).axis[:2]), 0.0]), CLOSE)
        return decide(sight, self.skills)

    def _is_under(self, env: Any, sight: Sight) -> bool:
        """Whether hand or object would meet the drawer on their way straight up."""
        solids = see_solids(env)
        drawer = solids.blocks[solids.body == int(env.model.site(self.clause[2]).bodyid[0])]
        palm = seen_from_above(PALM_SPOTS, sight.hand.yaw) + sight.hand.position[:2]
        size = (sight.high - sight.low)[:2]
        thing = np.array([[x, y] for x in (0, 0.5, 1) for y in (0, 0.5, 1)]) * size + sight.low[:2]
        low = float(sight.hand.position[2]) < float(drawer.high.max())
        return low and float(drawer.distance(np.concatenate([palm, thing])).min()) < self.skills.over


@dataclass(frozen=True)
class MakeRoom(PickPlace):
    """Bring an object out of the way of the shut drawer that it will go into, so that a hand can take it when
    the drawer is open; for the same clause as `PutInDrawer`."""

    shut: float = -0.05
    """Joint position beyond which it is too late for that."""
    ahead: float = 0.175
    """How far (m) in front of the shut drawer's handle the object's middle is to be, at least."""
    beside: float = 0.10
    """Objects farther (m) than this beside the drawer are not in the way."""

    def look(self, env: Any) -> Sight:
        """As `PickPlace` sees it, with a place straight ahead of the drawer."""
        sight, solids = super().look(env), see_solids(env)
        short, out = self._short_of_room(env, sight)
        fixture = str(solids.owner[solids.body == int(env.model.site(self.clause[2]).bodyid[0])][0])
        floor = float(solids.blocks.low[solids.owner == fixture].min())
        place = Place(sight.origin[:2] + (short + 0.012) * out, floor)
        return replace(sight, place=place, satisfied=short <= 0)

    def done(self, env: Any) -> bool:
        """Whether there is room, or no need for it any more."""
        if env.part(self.clause[2]).value < self.shut or env.holds(self.clause):
            return True
        sight = self.look(env)
        return sight.satisfied and is_clear(sight)

    def _short_of_room(self, env: Any, sight: Sight) -> tuple[float, StateArray]:
        """How much farther ahead of the drawer the object should be (m), and (2,) where ahead is."""
        part = env.part(self.clause[2])
        out, middle = -part.axis, (sight.high + sight.low)[:2] / 2
        across = np.array([-out[1], out[0], 0])
        apart = abs(float(across[:2] @ middle) - float(part.centres.mean(axis=0) @ across))
        if apart > float(part.reach(across).max() - part.centres.mean(axis=0) @ across) + self.beside:
            return 0.0, out[:2]
        return float(part.reach(out).max()) + self.ahead - float(middle @ out[:2]), out[:2]


def _reach(solids: Solids, which: StateArray, out: StateArray) -> float:
    """How far some boxes reach along (2,) a unit vector; world coordinate, m."""
    return float((solids.corners[which][..., :2] @ out).max())
