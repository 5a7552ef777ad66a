"""What the scrubber must do in a real browser, whichever host it is in. Both hosts' tests call these."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, expect

from workbench.scrubber import divergence
from workbench.scrubber.sample import BITS, numbered_rollout
from workbench.scrubber.spans import Span

FRAMES = 513
SHARED = (
    "frames_are_exact", "pixels_are_exact", "panes_stay_in_lockstep", "keys_move_the_clock", "spans_reach_python",
    "pointer_draws_and_resizes", "notes_are_inert", "keyboard_reaches_everything",
)  # fmt: skip
XSS = '<img src=x onerror="window.__xss=1"><script>window.__xss=1</script>${window.__xss=1}{{window.__xss}}'

# In the page: s is the scrubber; read(pane) gives the numbers in the two rows of blocks of a pane's canvas.
_PRELUDE = """
const host = [...document.querySelectorAll('*')].find((node) => node.wovrScrubber?.root.isConnected);
const s = host.wovrScrubber;
const read = (key) => {
  const canvas = s.root.querySelector(`canvas[data-pane="${key}"]`);
  const side = Math.max(2, Math.floor(canvas.width / BITS));
  return [0, 1].map((row) => {
    const y = canvas.height - side * row - Math.floor(side / 2) - 1;
    const line = canvas.getContext('2d').getImageData(0, y, canvas.width, 1).data;
    let number = 0;
    for (let i = 0; i < BITS; i++) {
      const at = (i * side + Math.floor(side / 2)) * 4;
      if (Math.max(line[at], line[at + 1], line[at + 2]) > 127) number |= 1 << i;
    }
    return number;
  });
};
const seen = () => { const [real, imagined, difference] = ['real', 'imagined', 'difference'].map(read);
  const clock = Number(s.root.dataset.frame);
  return { clock, real: real[0], imagined: imagined[0], imagined2: imagined[1], difference: difference[1] }; };
const until = async (test) => { const end = performance.now() + 15000;
  while (!test()) {
    if (performance.now() > end) throw new Error('timed out');
    await new Promise((go) => setTimeout(go, 2));
  } };
const visit = async (order, look) => { const out = [];
  for (const k of order) { s.seek(k); await until(() => s.drawn && s.frame === k); out.push(look()); }
  return out; };
""".replace("BITS", str(BITS))


@dataclass
class Driver:
    """One scrubber on a page, and where Python holds its spans."""

    page: Page
    annotations: Callable[[], list[Span]]

    def run(self, body: str, argument: Any = None) -> Any:
        """Runs async JavaScript with `s`, `read`, `seen`, `until` at hand."""
        return self.page.evaluate(f"async (argument) => {{ {_PRELUDE} {body} }}", argument)

    def find(self, selector: str) -> Locator:
        return self.page.locator(".scrubber-root").locator(selector)

    def ready(self) -> None:
        expect(self.page.locator(".scrubber-root[data-state=ready]")).to_have_count(1, timeout=40_000)
        self.focus()

    def focus(self) -> None:
        self.page.locator(".scrubber-root").evaluate("(root) => root.focus()")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def frame(self) -> int:
        return int(self.page.locator(".scrubber-root").get_attribute("data-frame") or -1)

    def at(self, k: int) -> None:
        expect(self.page.locator(".scrubber-root")).to_have_attribute("data-frame", str(k))

    def saved(self) -> list[Span]:
        """Python's spans, once the browser has had every edit acknowledged."""
        expect(self.page.locator(".scrubber-root")).to_have_attribute("data-unsaved", "0", timeout=15_000)
        return self.annotations()

    def shown(self) -> list[dict[str, Any]]:
        return self.run("return s.edits.spans")

    def clear(self) -> None:
        self.run(
            "s.escape(); s.escape(); for (const span of [...s.edits.spans]) s.edits.remove(span.id);"
            "s.edits.done = []; s.edits.undone = [];"
        )
        self.run("s.setTrim(0); s.play(false); s.speed = 1; s.seek(0);")
        assert self.saved() == []
        self.focus()

    def x(self, k: int) -> float:
        """Page x of the middle of frame k on the timeline."""
        box = self.find("canvas.timeline").bounding_box()
        assert box
        return box["x"] + float(self.run("return s.timeline.middle(argument)", k))

    def lane_y(self) -> float:
        box = self.find("canvas.timeline").bounding_box()
        assert box
        return box["y"] + 12

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, end[1], steps=3)
        mouse.move(*end, steps=3)
        mouse.up()


def frames_are_exact(driver: Driver) -> None:
    """Every frame, in random order: each pane shows the very frame whose number the clock gives."""
    order = list(range(FRAMES))
    random.Random(5).shuffle(order)
    rows = driver.run(
        "return visit(argument, seen);",
        order,
    )
    wrong = [(k, row) for k, row in zip(order, rows, strict=True) if set(row.values()) != {k}]
    assert len(rows) == FRAMES
    assert not wrong, wrong[:5]


def pixels_are_exact(driver: Driver) -> None:
    """Small frames are packed without loss: what the canvas shows is, bit for bit, what Python has."""
    rollout, real = numbered_rollout(64, 64, name="numbered")
    heat = divergence.heat_map(real.frames, rollout.frames)
    look = (
        "return visit(argument, () => ['real', 'imagined', 'difference'].map((key) => {"
        "  const canvas = s.root.querySelector(`canvas[data-pane=${key}]`);"
        "  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]; }));"
    )
    order = [0, 137, 511]
    for k, panes in zip(order, driver.run(look, order), strict=True):
        for source, seen in zip((real.frames, rollout.frames, heat), panes, strict=True):
            np.testing.assert_array_equal(np.reshape(seen, (64, 64, 4))[..., :3], source[k])


def panes_stay_in_lockstep(driver: Driver) -> None:
    """While playing fast, at any animation frame all panes show one number, and the clock says the same."""
    driver.run("s.seek(0)")
    driver.press("]", "]")  # 4x
    driver.press("Space")
    rows = driver.run(
        "const out = [];"
        "for (let i = 0; i < 45; i++) { await new Promise(requestAnimationFrame); out.push(seen()); }"
        "return out;"
    )
    driver.press("Space")
    assert all(len(set(row.values())) == 1 for row in rows), rows
    assert len({row["clock"] for row in rows}) > 5, "it did not play"
    assert driver.page.locator(".scrubber-root").get_attribute("data-playing") == "false"
    at = driver.frame()
    driver.page.wait_for_timeout(120)
    assert driver.frame() == at
    driver.press("[", "[")
    assert driver.run("return s.speed") == 1


def keys_move_the_clock(driver: Driver) -> None:
    """Arrows, chunk, ends, speed, trim; keys in a field do not reach the clock."""
    driver.clear()
    driver.press("ArrowRight", "ArrowRight", "ArrowRight")
    driver.at(3)
    driver.press("ArrowLeft")
    driver.at(2)
    driver.press("Shift+ArrowRight")
    driver.at(8)
    driver.press("Shift+ArrowRight", "Shift+ArrowLeft")
    driver.at(8)
    driver.press("ArrowRight", "Shift+ArrowLeft")
    driver.at(8)
    driver.press("End")
    driver.at(FRAMES - 1)
    driver.press("ArrowRight")
    driver.at(FRAMES - 1)
    driver.press("Home", "ArrowLeft")
    driver.at(0)
    for key, speed in (("[", 0.5), ("[", 0.25), ("[", 0.1), ("[", 0.1), ("]", 0.25), ("]", 0.5), ("]", 1)):
        driver.press(key)
        assert driver.run("return s.speed") == speed
    driver.run("s.seek(20); await until(() => s.drawn)")
    driver.press("}", "}")
    row = driver.run("await until(() => s.drawn); return seen()")
    assert (row["clock"], row["imagined"], row["real"]) == (20, 20, 22)
    driver.press("{", "{", "{")
    row = driver.run("await until(() => s.drawn); return seen()")
    assert (row["clock"], row["imagined"], row["real"]) == (20, 20, 19)
    driver.press("}")
    driver.press("?")
    expect(driver.find(".sheet")).to_be_visible()
    expect(driver.find(".sheet")).to_contain_text("to the chunk's boundary")
    driver.press("ArrowRight")
    driver.at(20)
    driver.press("Escape")
    expect(driver.find(".sheet")).to_be_hidden()


def spans_reach_python(driver: Driver) -> None:
    """I, O, digits, severity, note, nudging, delete, undo, redo: Python holds at each step what the page shows."""
    driver.clear()
    driver.run("s.seek(10)")
    driver.press("i")
    driver.run("s.seek(24)")
    driver.press("o")
    (span,) = driver.saved()
    assert (span.start, span.end, span.severity, span.version) == (10, 24, 2, 1)
    labels = driver.run("return s.meta.labels.map((label) => label.key)")
    for digit in "1234567890":
        driver.press(digit)
        assert driver.saved()[0].label == labels[(int(digit) + 9) % 10]
    for severity in (3, 1, 2):
        driver.press(f"Shift+Digit{severity}")
        assert driver.saved()[0].severity == severity
    driver.press("Enter")
    driver.page.keyboard.type("the can 1 is gone")
    driver.press("Escape")
    span = driver.saved()[0]
    assert (span.note, span.label, span.start) == ("the can 1 is gone", "other", 10)
    versions = span.version
    driver.press("Alt+ArrowLeft", "Alt+ArrowLeft", "Alt+Shift+ArrowRight")
    driver.run("await until(() => !s.nudged)")
    span = driver.saved()[0]
    assert (span.start, span.end, span.version) == (8, 25, versions + 1), "a run of nudges is one edit"
    driver.press("Control+z")
    assert (driver.saved()[0].start, driver.saved()[0].end) == (10, 24)
    driver.press("Control+Shift+z")
    assert driver.saved()[0].start == 8
    driver.press("Delete")
    assert driver.saved() == []
    assert driver.shown() == []
    driver.press("Control+z")
    assert driver.saved()[0].note == "the can 1 is gone"
    driver.press("Control+y")
    assert driver.saved() == []
    driver.press("Control+z", "Control+z")
    assert (driver.saved()[0].start, driver.shown()[0]["start"]) == (10, 10)
    driver.run("s.seek(100)")
    driver.press("i", "End", "o", "j", "j", "k")
    assert driver.run("return s.chosen().start") == 10
    both = driver.saved()
    assert [(one.start, one.end) for one in both] == [(10, 24), (100, FRAMES - 1)]
    assert [one["version"] for one in sorted(driver.shown(), key=lambda one: one["start"])] == [
        one.version for one in both
    ]


def pointer_draws_and_resizes(driver: Driver) -> None:
    """Click seeks, drag in the lane draws, its edges resize, its body moves; dragging elsewhere scrubs."""
    driver.clear()
    driver.find("canvas.timeline").click(position={"x": 300, "y": 120})  # JupyterLab scrolls to a cell it makes active
    driver.find("canvas.timeline").scroll_into_view_if_needed()
    driver.page.wait_for_timeout(300)
    y, low = driver.lane_y(), driver.lane_y() + 90
    driver.page.mouse.click(driver.x(200), low)
    assert abs(driver.frame() - 200) <= 1
    driver.drag((driver.x(50), low), (driver.x(300), low))
    assert abs(driver.frame() - 300) <= 1
    assert driver.lane_y() == y, "the page must not move under the pointer while the clock counts"
    assert driver.shown() == []
    driver.drag((driver.x(100), y), (driver.x(160), y))
    (span,) = driver.saved()
    assert abs(span.start - 100) <= 1
    assert abs(span.end - 160) <= 1
    driver.drag((driver.x(span.end), y), (driver.x(span.end + 40), y))
    (longer,) = driver.saved()
    assert longer.start == span.start
    assert abs(longer.end - span.end - 40) <= 1
    driver.drag((driver.x(span.start), y), (driver.x(span.start - 30), y))
    (wider,) = driver.saved()
    assert wider.end == longer.end
    assert abs(wider.start - span.start + 30) <= 1
    middle = (wider.start + wider.end) // 2
    driver.drag((driver.x(middle), y), (driver.x(middle + 50), y))
    (moved,) = driver.saved()
    assert moved.end - moved.start == wider.end - wider.start
    assert abs(moved.start - wider.start - 50) <= 1
    driver.press("Control+z")
    assert driver.saved()[0].start == wider.start
    driver.find(".editor input").first.fill("7")
    driver.page.keyboard.press("Enter")
    driver.focus()
    assert driver.saved()[0].start == 7


def notes_are_inert(driver: Driver) -> None:
    """Markup and template code in a note stay text."""
    driver.clear()
    driver.press("i", "ArrowRight", "o", "Enter")
    driver.find("textarea").fill(XSS)
    driver.press("Escape")
    (span,) = driver.saved()
    assert span.note == XSS
    expect(driver.find(".row .text")).to_have_text(XSS)
    assert driver.page.evaluate("window.__xss") is None
    assert driver.run("return s.root.querySelectorAll('img, script').length") == 0


def keyboard_reaches_everything(driver: Driver) -> None:
    """Named controls for a screen reader; the slider says where it is; a button keeps Space to itself."""
    driver.clear()
    driver.run("s.seek(12)")
    slider = driver.page.locator(".scrubber-root").get_by_role("slider", name="frame")
    expect(slider).to_have_attribute("aria-valuenow", "12")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"frame 12 of 513, divergence [\d.]+, p success"))
    nameless = driver.run(
        "const named = (button) => button.getAttribute('aria-label') || button.textContent.trim();"
        "return [...s.root.querySelectorAll('button')].filter((button) => !named(button)).length"
    )
    assert nameless == 0
    driver.find("button[data-do=forward]").focus()
    driver.press("Space")
    driver.at(13)
    driver.press("Tab")
    assert driver.run("return s.shadow.activeElement.dataset.do") == "chunkForward"
