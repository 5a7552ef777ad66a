"""Pages Branch and Teach: what their server functions refuse, and both in real Chromium over the starter pack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from apps.pages.branch import BranchAnswers
from apps.pages.teach import Lessons
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.forks.service import Forks
from workbench.server.roles import Role, User
from workbench.starter.unpack import unpack

ANN, EVE = User("ann", Role.ANNOTATOR), User("eve", Role.VIEWER)
IMAGINE = {
    "op": "imagine", "rollout": "demo/imagine/r-false", "frame": 8, "chunks": 1, "source": "edit",
    "afterwards": "original", "actions": [[0.0] * 7] * 8,
}  # fmt: skip


@pytest.fixture
def services(make_run: Callable[..., Path], tmp_path: Path) -> Services:
    make_run(tmp_path / "runs")
    return Services(Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0)))


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (None, "must be an object"),
        ({"op": "format"}, "op must be one of"),
        ({"op": ["list"]}, "op must be one of"),
        ({"op": "list", "page": -1}, "page must be"),
        ({"op": "open", "rollout": "demo/imagine/none"}, "no such rollout"),
        ({"op": "open", "rollout": "demo/collect/e0"}, "real episode"),
        ({"op": "open", "rollout": 7}, "rollout must be a text"),
        ({"op": "show", "fork": "../../run", "rollout": "demo/imagine/r-false"}, "no such fork"),
        ({"op": "state", "job": "x"}, "no such job of yours"),
        ({"op": "keep", "fork": "nothing"}, "no longer at hand"),
        (IMAGINE | {"chunks": 99}, "chunks must be"),
    ],
)
def test_bad_questions_get_an_error(services: Services, message: Any, match: str) -> None:
    answer = BranchAnswers(services, Forks()).answer(message, ANN)
    assert set(answer) == {"error"}
    assert match in answer["error"]


def test_a_viewer_may_look_and_not_imagine(services: Services) -> None:
    answers = BranchAnswers(services, Forks())
    assert answers.answer({"op": "list"}, EVE)["may"] is False
    opened = answers.answer({"op": "open", "rollout": "demo/imagine/r-false"}, EVE)
    assert opened["rollout"]["chunks"] == 4
    assert opened["value"]["meta"]["can_edit"] is False
    assert "takes the role annotator" in answers.answer(IMAGINE, EVE)["error"]
    assert "takes the role annotator" in answers.answer({"op": "replay", "fork": "x"}, EVE)["error"]


def test_the_tour_unpacks_what_it_teaches_on(tmp_path: Path) -> None:
    lessons = Lessons(Services(Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0))))
    answer = lessons.answer({"op": "tour"}, EVE)
    assert len(answer["steps"]) == 10
    assert (tmp_path / "runs" / "starter" / "run.json").is_file()
    wanted = next(s["piece"]["rollout"] for s in answer["steps"] if s["piece"]["kind"] == "scrubber")
    assert lessons.answer({"op": "scrubber", "rollout": wanted}, EVE)["value"]["meta"]["frames"] == 73
    assert "no such rollout" in lessons.answer({"op": "scrubber", "rollout": "../x"}, EVE)["error"]
    assert "op must be" in lessons.answer({"op": "delete"}, EVE)["error"]


SLOW_CLOCK = "const every = setInterval; setInterval = (act, pause) => every(act, Math.max(pause, 3000));"
"""A busy browser, whose clocks come late: what is ready does not wait for them."""


@pytest.mark.browser
@pytest.mark.timeout(240)
def test_both_pages_in_a_browser(tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    from playwright.sync_api import expect

    from apps.app import create_app
    from apps.bench.browser import chromium, served

    run = unpack(runs=tmp_path / "runs").path
    services = Services(Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0)))
    with served(create_app(services)) as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url + "/teach?step=mask")
        page.locator(".wovr-teach[data-step=mask]").wait_for(timeout=60_000)
        page.keyboard.press("ArrowRight")
        page.wait_for_url("**step=pace")
        page.keyboard.press("n")
        expect(page.locator(".wovr-teach .notes")).to_be_visible()

        page.add_init_script(SLOW_CLOCK)
        page.goto(url + "/branch")
        page.locator(".wovr-branch .picker .wovr-card").first.click(timeout=60_000)
        page.locator(".wovr-branch[data-state=ready]").wait_for(timeout=60_000)
        page.locator("[data-preset=hold]").click()
        expect(page.locator("[data-cell='0-3']")).to_have_value("0")
        page.locator(".wovr-branch .go .main").click()
        page.locator(".wovr-branch .fork:not([hidden])").wait_for(timeout=120_000)
        page.locator("[data-name=keep]").click()
        page.locator("[data-name=undo]").wait_for(timeout=30_000)
        [kept] = (run / "branches" / "rollouts").glob("*.safetensors")
        assert f"fork={kept.stem}" in page.url
        page.reload()
        page.locator(".wovr-branch .fork:not([hidden])").wait_for(timeout=60_000)
        page.locator("[data-name=undo]").click()
        page.locator("[data-name=keep]").wait_for(timeout=30_000)
        assert not kept.exists()
        assert problems == []
