"""Pages Train, Evaluate and Compare in real Chromium, over jobs that only pretend to train."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

from playwright.sync_api import Page, expect

from apps.app import create_app
from apps.bench.browser import served
from apps.services import Services
from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.strips import Strips
from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec
from workbench.server.roles import Role, User
from wovr_core.data.episode_files import write_episode
from wovr_core.files import write_json

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
]
SLOW = 60_000
XSS = "<img src=x onerror=window.__xss=1>${window.__xss=1}"
ENV = "LiberoConfig(suite='libero_object', size=64, profile='fast', camera='agentview', view='workspace')"

_WORK = """
import json, pathlib, sys, time
run = pathlib.Path(sys.argv[1]); stage = run / "sft"; stage.mkdir(parents=True, exist_ok=True)
(run / "run.json").write_text(json.dumps({"recipe": "smoke", "config": {}}))
config = {"stage": "train_policy_sft", "config": {"steps": 400}, "inputs": {}}
(stage / "config.json").write_text(json.dumps(config))
with (stage / "metrics.jsonl").open("w") as file:
    for step in range(0, 200, 20):
        line = {"phase": "training", "step": step, "loss": 1 / (1 + step), "seconds": step / 10}
        file.write(json.dumps(line) + chr(10))
print("hello from <b>the job</b>", flush=True)
time.sleep(600)
"""


def _argv(spec: JobSpec) -> list[str]:
    return [sys.executable, "-c", _WORK, os.path.join(os.environ["WOVR_HOME"], "runs", spec.run)]


register_kind(JobKind("pretend", "pretends to train", _argv, recipe=True, stages=lambda spec: ["sft"]))


@pytest.fixture
def site(chrome: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """An app over a home of its own; `visit` opens a page and sees to it that it makes no error."""
    home = tmp_path / "home"
    monkeypatch.setenv("WOVR_HOME", str(home))
    (home / "jobs").mkdir(parents=True)
    Capacity(cores=2, memory_mb=8000).write(home / "jobs")
    user = SimpleNamespace(now=User("olga", Role.OPERATOR))
    catalogue = Catalogue(CatalogueConfig(runs=home / "runs", seconds=0.0, patience=60.0))
    services = Services(catalogue, user_of=lambda _: user.now, strips=Strips(tmp_path / "cache"))
    pages: list[Page] = []
    problems: list[str] = []
    with served(create_app(services)) as url:

        def visit(path: str) -> Page:
            page = chrome.new_page(viewport={"width": 1280, "height": 720})
            pages.append(page)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(url + path)
            return page

        yield SimpleNamespace(url=url, runs=home / "runs", visit=visit, user=user, jobs=services.jobs)
        for page in pages:
            page.close()
    for status in services.jobs.list():
        services.jobs.stop(status.id)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(not s.state.ended for s in services.jobs.list()):
        time.sleep(0.05)
    catalogue.close()
    assert problems == []


def asked(page: Page, name: str, message: dict[str, Any]) -> dict[str, Any]:
    """A page's server function called past its buttons, as anyone with the page could."""
    return dict(
        page.evaluate("([name, message]) => document.querySelector('.wovr-page')[name].ask(message)", [name, message])
    )


def evaluation(run: Path, stage: str, policy: str, outcomes: list[bool], **config: Any) -> None:
    inputs = {"env": ENV, "policy": policy, "seed": "0", "tasks": "[0]"}
    settings = {"trials": len(outcomes), "temperature": 1.0, "max_steps": 160} | config
    write_json(run / stage / "config.json", {"stage": "evaluate", "config": settings, "inputs": inputs})
    found = {"policy": policy, "outcomes": {"0": outcomes}}
    write_json(run / stage / "outputs.json", {"outputs": found, "seconds": 2.0})


def test_launch_watch_cancel_and_resume(site: SimpleNamespace) -> None:
    page = site.visit("/train?recipe=smoke&kind=pretend")
    page.locator(".wovr-launch[data-ready=yes]").wait_for(timeout=SLOW)
    expect(page.locator(".wovr-joblist")).to_contain_text("No job yet")
    run = page.locator("[data-field=run]")
    run.fill("../evil")
    expect(page.locator("[data-error=run]")).to_contain_text("letters, digits", timeout=SLOW)
    expect(run).to_have_attribute("aria-invalid", "true")
    run.fill("mine")
    search = page.get_by_label("search options to change")
    search.fill("sft.stpes")
    page.locator(".wovr-found [role=option]", has_text="sft.steps").first.click(timeout=SLOW)
    steps = page.locator("[data-field='changes.sft.steps']")
    expect(steps).to_be_focused()
    steps.fill("many")
    expect(page.locator("[data-error='changes.sft.steps']")).to_contain_text("valid integer", timeout=SLOW)
    steps.fill("50")
    page.locator(".wovr-launch[data-ready=yes]").wait_for(timeout=SLOW)
    expect(page.locator(".wovr-preflight")).to_contain_text("a new run; nothing is overwritten")
    page.wait_for_url("**run=mine&set=sft.steps%3D50")

    page.reload()
    page.locator(".wovr-launch[data-ready=yes]").wait_for(timeout=SLOW)
    expect(page.locator("[data-field='changes.sft.steps']")).to_have_value("50")
    page.get_by_role("button", name="Launch", exact=True).dblclick()
    panel = page.locator("div.wovr-job[data-state=running]")
    expect(panel.locator(".wovr-log")).to_contain_text("hello from <b>the job</b>", timeout=SLOW)
    (job,) = site.jobs.list()
    assert job.spec.overrides == ("sft.steps=50",)
    page.wait_for_url(f"**job={job.id}")
    expect(page.locator(".wovr-plot .xy .scatterlayer path.js-line")).to_have_count(1, timeout=SLOW)
    expect(panel).to_contain_text("step 180 of 400")
    expect(page.locator(f"tr[data-job='{job.id}']")).to_contain_text("olga")

    second = site.visit(f"/train?job={job.id}")
    expect(second.locator("div.wovr-job[data-state=running] .wovr-log")).to_contain_text("hello", timeout=SLOW)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    page.locator("div.wovr-job[data-state=cancelled]").wait_for(timeout=SLOW)
    second.locator("div.wovr-job[data-state=cancelled]").wait_for(timeout=SLOW)
    for _ in range(30):
        second.get_by_role("button", name="Resume").click()
        second.wait_for_timeout(500)
        if site.jobs.status(job.id).attempt == 2:
            break
    page.locator("div.wovr-job[data-state=running]").wait_for(timeout=SLOW)
    expect(page.locator(".wovr-jobhead")).to_contain_text("attempt 2")
    assert len(site.jobs.list()) == 1
    page.locator(f"tr[data-job='{job.id}']").focus()
    page.keyboard.press("Escape")
    expect(page.locator("section.wovr-job")).to_be_hidden()
    page.locator(f"tr[data-job='{job.id}']").focus()
    page.keyboard.press("Enter")
    expect(page.locator("section.wovr-job")).to_be_visible()


@pytest.mark.security
def test_a_viewer_may_look_but_not_launch_cancel_or_evaluate(
    site: SimpleNamespace, make_run: Callable[..., Path]
) -> None:
    make_run(site.runs, "a")
    evaluation(site.runs / "a", "evaluate_base", "aaaaaaaaaaaa", [True])
    site.user.now = User("vik", Role.VIEWER)
    page = site.visit("/train?recipe=smoke&kind=pretend&run=x")
    page.locator(".wovr-launch[data-ready=yes]").wait_for(timeout=SLOW)
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_disabled()
    expect(page.locator(".wovr-launch")).to_contain_text("that takes the role operator")
    draft = {"kind": "pretend", "recipe": "smoke", "run": "x"}
    for message in (
        {"ask": "launch", "draft": draft, "key": "a-long-enough-key"},
        {"ask": "launch", "draft": draft | {"run": "../../etc"}, "key": "a-long-enough-key"},
        {"ask": "cancel", "id": "abc"},
        {"ask": "retry", "id": "abc"},
    ):
        assert "takes the role operator" in asked(page, "wovrTrain", message)["error"]
    site.user.now = User("olga", Role.OPERATOR)
    evil = draft | {"changes": [{"key": "sft.steps", "value": "$(touch /tmp/x)"}]}
    assert asked(page, "wovrTrain", {"ask": "launch", "draft": evil, "key": "a-long-enough-key"})["fields"]
    assert not site.jobs.list()
    site.user.now = User("vik", Role.VIEWER)
    page = site.visit("/evaluate")
    page.locator(".wovr-result").wait_for(timeout=SLOW)
    message = {"ask": "evaluate", "run": "a", "policies": ["aaaaaaaaaaaa"], "tasks": [0], "key": "a-long-enough-key"}
    assert "takes the role operator" in asked(page, "wovrEvaluate", message)["error"]
    assert not site.jobs.list()


def test_two_policies_start_by_start(
    site: SimpleNamespace, make_run: Callable[..., Path], make_episode: Callable[..., Any]
) -> None:
    run = make_run(site.runs, "a")
    first, second = [True, False, True, False], [True, True, False, False]
    for stage, policy, outcomes in (("evaluate_base", "a" * 12, first), ("evaluate", "b" * 12, second)):
        evaluation(run, stage, policy, outcomes)
        for i, ok in enumerate(outcomes):
            episode = make_episode(f"libero_object-0-init{i:02d}", length=12 + i, success_at=9 if ok else None, size=16)
            write_episode(run / stage / "episodes", episode)
    other = make_run(site.runs, XSS[:40].replace("/", ""), recipe="cpu")
    evaluation(other, "evaluate", "c" * 12, [True, True], max_steps=99)
    page = site.visit("/evaluate?run=a")
    page.locator(".wovr-result").first.wait_for(timeout=SLOW)
    expect(page.locator(".wovr-result .rate").first).to_contain_text("2/4 = 50 % [15, 85]")
    for result in ("a/evaluate_base", "a/evaluate"):
        page.locator(f"input[data-result='{result}']").check()
    page.get_by_role("button", name="Compare two").click()
    ready = page.locator(".wovr-compare-body[data-state=ready]")
    ready.wait_for(timeout=SLOW)
    expect(page.locator("[data-paired=yes] .wovr-verdict")).to_contain_text("p = 1")
    expect(ready).to_contain_text("2 of 4 starts flipped")
    assert [c.get_attribute("class") for c in page.locator("button[data-pair]").all()] == ["both", "gained", "lost", ""]
    page.locator("[data-pair='0:1']").focus()
    page.keyboard.press("Enter")
    page.locator(".scrubber-root[data-state=ready]").wait_for(timeout=SLOW)
    expect(page.locator(".scrubber-root")).to_contain_text("2: ")
    expect(page.locator(".scrubber-root canvas[data-pane]")).to_have_count(2)
    page.wait_for_url("**pair=0%3A1")
    page.reload()
    page.locator(".scrubber-root[data-state=ready]").wait_for(timeout=SLOW)

    last = page.locator("select[data-side=second] option").all()
    ids = [option.get_attribute("value") or "" for option in last]
    page.locator("select[data-side=second]").select_option(
        next(i for i in ids if i not in ("a/evaluate", "a/evaluate_base"))
    )
    expect(page.locator(".wovr-notice")).to_contain_text("one gave its policy 160 actions, the other 99", timeout=SLOW)
    expect(page.locator("[data-paired]")).to_have_count(0)
    expect(page.locator(".wovr-diff")).to_contain_text("recipe")
    assert page.evaluate("window.__xss") is None
    for message in (
        {"ask": "open", "kind": "policies", "first": "../a", "second": "a/evaluate", "task": 0, "init": 0},
        {"ask": "open", "kind": "policies", "first": "a/evaluate", "second": "a/evaluate", "task": 0, "init": 44},
        {"ask": "open", "kind": "policies", "first": "a/evaluate", "second": "a/evaluate", "task": "0", "init": 1},
        {
            "ask": "open",
            "kind": "models",
            "first": "a@x",
            "second": "a@x",
            "first_rollout": "../x",
            "second_rollout": "y",
        },
        {"ask": "policies", "first": 5, "second": None},
        {"ask": "nothing"},
        [],
    ):
        assert asked(page, "wovrCompare", message)["error"]


def test_empty_pages_say_what_to_do(site: SimpleNamespace) -> None:
    page = site.visit("/compare")
    expect(page.locator(".wovr-empty")).to_contain_text("wovr demo", timeout=SLOW)
    page.goto(site.url + "/evaluate")
    expect(page.locator(".wovr-empty")).to_contain_text("wovr run sft", timeout=SLOW)
    page.goto(site.url + "/train?job=nothere")
    expect(page.locator("section.wovr-job")).to_contain_text("there is no job 'nothere'", timeout=SLOW)
    for width in (1280, 900, 700):
        page.set_viewport_size({"width": width, "height": 720})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
