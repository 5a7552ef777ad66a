"""Page Robot: what it refuses when asked directly, and the whole protocol in real Chromium on the simulated lab."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from playwright.sync_api import Page, expect

from apps.app import create_app
from apps.bench.browser import served
from apps.pages.robot import RobotPage
from apps.services import Services, local_user
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.robot_desk import RobotDesk
from workbench.robot_station import LabSettings, contestant, plan_in_lab
from workbench.server.roles import Role, User
from wovr_core.errors import WovrError
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig, write_plan
from wovr_core.robots.runner import RunnerConfig
from wovr_core.types import TaskId

pytestmark = pytest.mark.robot
BROWSER = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
]
ANN, BOB = User("ann", Role.ROBOT), User("bob", Role.OPERATOR)
WAIT = 90_000
NAME = "page-test"


def fresh(home: Path) -> Path:
    """The evaluation's folder, with nothing in it."""
    folder = home / "evaluations" / NAME
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@pytest.fixture
def planned(wovr_home: Path) -> Iterator[Evaluation]:
    """One policy, two trials: on paper."""
    folder = fresh(wovr_home)
    write_plan(
        folder, NAME, robot="none", task=TaskId("robot", 0, "push"), simulated=True, protocol=ProtocolConfig(trials=2),
        contestants=[Contestant("secret-name", "1")], pictures={0: np.zeros((16, 16, 3), np.uint8)},
    )  # fmt: skip
    yield Evaluation(folder)
    fresh(wovr_home)


@pytest.fixture
def in_lab(wovr_home: Path) -> Iterator[Evaluation]:
    """One policy, two short trials in the lab."""
    fresh(wovr_home)
    protocol = ProtocolConfig(trials=2, runner=RunnerConfig(max_steps=24))
    yield plan_in_lab(NAME, [contestant("secret-name=scripted")], LabSettings(size=32), protocol, range(2))
    fresh(wovr_home)


@pytest.fixture
def visit(chrome: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Page]]:
    """Opens the page of an app started with (or without) a robot; `visit.who.user` is whoever asks."""
    closing: list[Any] = []
    problems: list[str] = []
    who = SimpleNamespace(user=ANN)

    def serve(robot: str = "", query: str = "") -> Page:
        monkeypatch.setenv("WOVR_ROBOT", robot)
        catalogue = Catalogue(CatalogueConfig(runs=tmp_path / "runs", seconds=0.0, patience=60.0))
        site = served(create_app(Services(catalogue, user_of=lambda _: who.user)))
        url = site.__enter__()
        page = chrome.new_page(viewport={"width": 1280, "height": 720})
        closing.append((page, site))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{url}/robot{query}")
        return page

    serve.who = who  # type: ignore[attr-defined]
    yield serve
    for page, site in closing:
        page.close()
        site.__exit__(None, None, None)
    assert problems == []


@pytest.mark.security
def test_without_a_robot_nothing_moves_whoever_asks() -> None:
    page = RobotPage(None)
    told = page.answer({"op": "hello"}, ANN)
    assert told["robot"] is None
    for message in ({"op": "arm", "name": NAME}, {"op": "ready", "token": ""}, {"op": "disarm", "token": "x"}):
        assert "wovr app --robot" in page.answer(message, ANN)["error"]
    assert "wovr app --robot" in page.word(ANN, {"token": "x", "key": True})["error"]


@pytest.mark.security
def test_the_role_is_asked_for_where_it_counts(planned: Evaluation) -> None:
    page = RobotPage(RobotDesk("lab", lambda _: pytest.fail("it was armed")))
    for role in (Role.VIEWER, Role.ANNOTATOR, Role.OPERATOR):
        told = page.answer({"op": "arm", "name": NAME}, User("x", role))
        assert told["forbidden"]
        assert page.word(User("x", role), {"token": "t", "key": True})["forbidden"]
    viewer, annotator = User("v", Role.VIEWER), User("a", Role.ANNOTATOR)
    label = {"op": "label", "name": NAME, "trial": 1, "success": True}
    assert page.answer(label, annotator)["forbidden"]
    assert page.answer(label | {"video": True}, viewer)["forbidden"]
    for op in ("exclude", "unblind", "report"):
        assert page.answer({"op": op, "name": NAME, "trial": 1, "why": "x"}, annotator)["forbidden"]
    assert planned.log.read() == []


@pytest.mark.security
@pytest.mark.parametrize(
    "message",
    [None, 3, [], {}, {"op": "nothing"}, {"op": "open"}, {"op": "open", "name": "../../etc"}, {"op": "open", "name": 4},
     {"op": "arm", "name": "x" * 3000}, {"op": "label", "name": NAME, "trial": True, "success": True},
     {"op": "label", "name": NAME, "trial": 1, "success": "yes"},
     {"op": "label", "name": NAME, "trial": 99, "success": True},
     {"op": "exclude", "name": NAME, "trial": -1, "why": "x"}],
)  # fmt: skip
def test_bad_messages_are_answered_in_words(planned: Evaluation, message: object) -> None:
    page = RobotPage(RobotDesk("lab", lambda _: pytest.fail("it was armed")))
    told = page.answer(message, ANN)
    assert isinstance(told["error"], str)
    assert planned.log.read() == []


@pytest.mark.security
def test_nobody_sees_who_acts_or_the_others_label_before_unblinding(planned: Evaluation) -> None:
    planned.begin(1, "ann")
    planned.end(1, {"attempt": 1, "how": "finished", "why": "", "truth": True})
    planned.label(1, "ann", True, note="it lies in the basket")
    page = RobotPage(None)
    told = page.answer({"op": "open", "name": NAME}, BOB)
    first = told["trials"][0]
    assert first["policy"] == ""
    assert first["operator"] == {"by": "ann", "success": None, "note": ""}
    assert "truth" not in str(told)
    assert page.answer({"op": "open", "name": NAME}, ANN)["trials"][0]["operator"]["success"] is True
    with pytest.raises(WovrError):
        planned.unblind("ann")


def test_a_local_user_has_a_robot_only_where_the_app_was_started_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WOVR_ROBOT", raising=False)
    assert local_user().role is Role.OPERATOR
    monkeypatch.setenv("WOVR_ROBOT", "lab")
    assert local_user().role is Role.ROBOT


class TestInChromium:
    pytestmark = BROWSER

    def test_the_page_says_how_to_begin(
        self, visit: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WOVR_HOME", str(tmp_path / "home"))
        page = visit()
        expect(page.get_by_text("No evaluation is planned yet")).to_be_visible(timeout=WAIT)
        expect(page.get_by_text("wovr app --robot lab")).to_be_visible()
        assert page.get_by_role("button", name="Arm", exact=True).count() == 0
        page.evaluate("""() => {
          const page = document.querySelector('.wovr-robot').wovrRobot, { watch } = page;
          window.watches = 0;
          page.watch = () => { window.watches += 1; return watch.call(page); };
          page.host.firstElementChild.dataset.drawn = 'before';
        }""")
        page.get_by_role("button", name="Look again").click()
        expect(page.locator("[data-drawn=before]")).to_have_count(0, timeout=WAIT)
        page.wait_for_timeout(200)
        assert page.evaluate("window.watches") == 0, "the page watches already"

    def test_from_arming_to_the_report(self, visit: Callable[..., Page], in_lab: Evaluation) -> None:
        planned = in_lab
        page = visit("lab", f"?evaluation={NAME}")
        page.get_by_role("button", name="Arm", exact=True).click(timeout=WAIT)
        self.phase(page, "reset")
        expect(page.get_by_alt_text("The initial picture over the live one")).to_be_visible(timeout=WAIT)
        page.get_by_role("button", name="begin (Enter)").click()
        expect(page.get_by_role("alert")).to_contain_text("hold the dead-man key")
        for trial in (1, 2):
            self.phase(page, "reset", trial)
            page.keyboard.down("Space")
            page.wait_for_function("document.querySelector('.wovr-robot').wovrRobot.view.key")
            page.keyboard.press("Enter")
            self.phase(page, "running")
            if trial == 1:
                page.keyboard.up("Space")  # released: it holds, and the trial waits
                page.wait_for_function("!document.querySelector('.wovr-robot').wovrRobot.view.key")
                step = page.evaluate("document.querySelector('.wovr-robot').wovrRobot.view.step")
                script = "least => document.querySelector('.wovr-robot').wovrRobot.view.step >= least"
                page.wait_for_function(script, arg=step + 3, timeout=WAIT)
                self.phase(page, "running")
                page.keyboard.down("Space")
            self.phase(page, "label")
            page.keyboard.up("Space")
            page.keyboard.press("n")
        self.phase(page, "ended")
        body = planned.trial(1).last
        assert body is not None
        assert body["held_steps"] > 0
        assert [t.operator.by for t in planned.standing().trials if t.operator] == ["ann", "ann"]
        text = page.locator(".trials").inner_text()
        assert "1 left" not in text
        assert "no second label" in text
        visit.who.user = BOB  # type: ignore[attr-defined]
        page.reload()
        for trial in (1, 2):
            page.get_by_role("button", name=f"film of trial {trial}").click(timeout=WAIT)
            video = page.locator("video")
            page.wait_for_function("document.querySelector('video')?.readyState >= 2", timeout=WAIT)
            assert video.evaluate("v => v.duration") > 1.0
            page.get_by_role("button", name="Not solved", exact=True).click()
            expect(page.locator(f"tr[data-trial='{trial}']")).to_contain_text("not solved (bob)", timeout=WAIT)
        page.get_by_role("button", name="Unblind").click()
        page.get_by_role("button", name="Write the report").click(timeout=WAIT)
        address = page.get_by_role("link", name="Open the report").get_attribute("href", timeout=WAIT)
        page.goto(page.url.split("/robot")[0] + str(address))
        expect(page.get_by_role("heading", name=NAME)).to_be_visible(timeout=WAIT)
        expect(page.get_by_role("cell", name="0 of 2").first).to_be_visible()
        assert page.request.get(page.url + "videos/trial-001-1.mp4").status == 200
        assert page.request.get(page.url + "videos/trial-009-1.mp4").status == 404

    @staticmethod
    def phase(page: Page, name: str, trial: int = 0) -> None:
        script = """([name, trial]) => {
            const view = document.querySelector(".wovr-robot")?.wovrRobot?.view;
            return view?.phase === name && (!trial || view.trial === trial);
        }"""
        page.wait_for_function(script, arg=[name, trial], timeout=WAIT)
