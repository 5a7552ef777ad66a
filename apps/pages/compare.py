"""Page Compare: two policies, or two world models, on the same starts, as pairs; and what the two runs set otherwise.

All numbers are workbench.compare's. A pair's two recordings open side by side in one scrubber, by ids alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from apps.pages import PageParts
from apps.pages.asking import name_of
from apps.pages.component import page_html
from apps.pages.evaluate import runs_of
from apps.pages.forms import launch_head, launch_url
from apps.plotly_asset import plotly_url
from apps.scrubber_host import module_url, reading_value
from apps.services import Services
from workbench.compare import (
    compare_policies,
    comparison_json,
    config_difference,
    episode_path,
    evaluations,
    find_evaluation,
)
from workbench.compare_models import compare_models, find_model, rollout_path, world_models
from workbench.film_strips import as_seen
from workbench.scrubber.payload import Payload
from workbench.server.roles import Role, User
from workbench.side_by_side import side_by_side
from wovr_core.data.episode_files import read_episode, read_rollout
from wovr_core.errors import UnknownNameError, WovrError

MAX_INDEX = 10_000


class ComparePage:
    """Answers the page's questions. Looking takes the role of a viewer."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._questions: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "choices": self._choices,
            "policies": self._policies,
            "models": self._models,
            "open": self._open,
        }

    def answer(self, message: object, user: User) -> dict[str, Any]:
        """Raises WovrError for what a caller got wrong; `page_html` makes an answer of it."""
        user.require(Role.VIEWER, "compare")
        if not isinstance(message, Mapping):
            raise WovrError("a question must be an object")
        name = message.get("ask")
        if not isinstance(name, str) or name not in self._questions:
            raise UnknownNameError("question", str(name)[:60], self._questions)
        return self._questions[name](message)

    def _choices(self, message: Mapping[str, Any]) -> dict[str, Any]:
        runs = runs_of(self._services)
        found = [
            {"id": e.id, "run": e.run, "title": f"{e.title} · {e.successes}/{len(e.outcomes)}", "stage": e.stage}
            for e in evaluations(runs)
        ]
        return {"policies": found, "models": world_models(runs)}

    def _policies(self, message: Mapping[str, Any]) -> dict[str, Any]:
        runs = runs_of(self._services)
        first, second = (find_evaluation(runs, name_of(message, side)) for side in ("first", "second"))
        found = comparison_json(compare_policies(first, second))
        return found | {"config": _config(runs, first.run, second.run)}

    def _models(self, message: Mapping[str, Any]) -> dict[str, Any]:
        runs = runs_of(self._services)
        first, second = (find_model(runs, name_of(message, side)) for side in ("first", "second"))
        return compare_models(first, second) | {"config": _config(runs, first.run, second.run)}

    def _open(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """One pair's recordings in a scrubber: {value}, as scrubber_value makes it."""
        runs, kind = runs_of(self._services), message.get("kind")
        ids = [name_of(message, side) for side in ("first", "second")]
        payload = self._trial(runs, ids, message) if kind == "policies" else self._imagined(runs, ids, message)
        return {"value": reading_value(payload, self._services.packs)}

    def _trial(self, runs: Mapping[str, Path], ids: list[str], message: Mapping[str, Any]) -> Payload:
        task, init = (_index(message, name) for name in ("task", "init"))
        found = [find_evaluation(runs, one) for one in ids]
        episodes = [as_seen(read_episode(episode_path(runs, one, (task, init)))) for one in found]
        titles = _titles(*(one.title for one in found))
        name = f"{ids[0]} | {ids[1]} | {task}:{init}"
        subtitle = f"{episodes[0].task.instruction}, initial state {init}"
        return side_by_side(episodes[0], episodes[1], id=name, titles=titles, subtitle=subtitle)

    def _imagined(self, runs: Mapping[str, Path], ids: list[str], message: Mapping[str, Any]) -> Payload:
        found = [find_model(runs, one) for one in ids]
        names = [name_of(message, side) for side in ("first_rollout", "second_rollout")]
        rollouts = []
        for model, name in zip(found, names, strict=True):
            if name not in {r.id for r in model.rollouts}:  # looked up, never made into a path before that
                raise UnknownNameError(f"rollout of {model.id}", name[:120], [r.id for r in model.rollouts])
            rollouts.append(as_seen(read_rollout(rollout_path(runs[model.run], name))))
        titles = _titles(*(model.title for model in found))
        return side_by_side(rollouts[0], rollouts[1], id=" | ".join(names), titles=titles)


def build(services: Services) -> PageParts:
    """The page."""
    page = ComparePage(services)
    urls = {"launch_url": launch_url(".js"), "plotly_url": plotly_url(), "scrubber_url": module_url()}
    page_html("compare", services, page.answer, **urls)
    return PageParts(router=APIRouter(), head=launch_head())


def _config(runs: Mapping[str, Path], first: str, second: str) -> dict[str, Any]:
    if first == second:
        return {"same_run": True, "rows": []}
    return {"same_run": False, "rows": [asdict(d) for d in config_difference(runs[first], runs[second])]}


def _titles(first: str, second: str) -> tuple[str, str]:
    return (f"1: {first}", f"2: {second}")


def _index(message: Mapping[str, Any], name: str) -> int:
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INDEX:
        raise WovrError(f"{name} must be a whole number from 0")
    return value
