"""Page Teach: a guided tour for a class, over the starter pack (or the newest demo run where there is none).

What is said and drawn is computed in workbench/tour; the page's module (apps/assets/teach.js) lays it out.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from apps.assets_route import asset_url
from apps.pages import PageParts
from apps.pages.asking import AskError, answer_to
from apps.pages.component import page_html
from apps.scrubber_host import module_url, reading_value
from apps.services import Services
from workbench.film_strips import as_seen
from workbench.run_data import RunData
from workbench.scrubber.payload import from_rollout
from workbench.server.roles import Role, User
from workbench.starter.unpack import available, demo_run, unpack
from workbench.tour.material import Step
from workbench.tour.steps import tour


def build(services: Services) -> PageParts:
    """The page's component, inside the Blocks around it."""
    page_html("teach", services, Lessons(services).answer, scrubber_url=module_url())
    return PageParts(APIRouter(), f'<link rel="stylesheet" href="{asset_url("teach.css")}">')


@dataclass
class Lessons:
    """The tour of one run, computed once for each state of its files. Safe for several threads."""

    services: Services
    _known: dict[tuple[str, int], list[Step]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, message: object, user: User) -> dict[str, Any]:
        """{op: "tour"}: all steps; {op: "scrubber", rollout}: a rollout in the scrubber. {"error": why} otherwise."""
        return answer_to(message, user, {"tour": self._tour, "scrubber": self._scrubber})

    def run(self) -> Path:
        """What is taught on: the starter pack, unpacked when it is first asked for. Raises WovrError."""
        runs = self.services.catalogue.config.runs
        return unpack(runs=runs).path if available() else demo_run(runs)

    def _steps(self, run: Path) -> list[Step]:
        key = (str(run), max((p.stat().st_mtime_ns for p in run.glob("*/outputs.json")), default=0))
        with self._guard:
            if key not in self._known:
                self._known = {key: tour(run)}
            return self._known[key]

    def _tour(self, user: User, _: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.VIEWER, "take the tour")
        run = self.run()
        return {"run": run.name, "steps": [step.to_json() for step in self._steps(run)]}

    def _scrubber(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.VIEWER, "take the tour")
        run, rollout_id = self.run(), message.get("rollout")
        wanted = [s.piece["rollout"] for s in self._steps(run) if s.piece["kind"] == "scrubber"]
        if not isinstance(rollout_id, str) or rollout_id not in wanted:
            raise AskError("the tour shows no such rollout")
        data = RunData(run)
        payload = from_rollout(as_seen(data.rollout(rollout_id)), as_seen(data.replay(rollout_id)))
        return {"value": reading_value(payload.with_meta(subtitle="", title=rollout_id), self.services.packs)}
