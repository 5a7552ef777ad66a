"""The guideline's examples: those that ship, and how one is cut out of a rollout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.cli import main
from workbench.review.make_examples import cut, shown_frames
from workbench.review.shipped_examples import INDEX, MAX_BYTES, Examples, ShippedExample, write
from workbench.scrubber.spans import LABEL_KEYS
from wovr_core.errors import CorruptFileError, WovrError

WANTED = ShippedExample("teleports", "a", "r-false", 20, 30, 2, "ann", "all of it jumps")


def test_each_label_has_a_real_example_or_says_why_not() -> None:
    shipped = Examples.shipped()
    assert shipped.examples.keys() | shipped.missing.keys() == LABEL_KEYS
    assert not shipped.examples.keys() & shipped.missing.keys()
    assert len(shipped.examples) >= 8
    for label, one in shipped.examples.items():
        data = shipped.picture(one.file)
        assert data is not None
        assert len(data) <= MAX_BYTES
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.width > 400) == ("WEBP", True)
        assert {one.first, one.last} <= set(one.shown)
        assert one.by
        assert one.why
        real, imagined = one.evidence["real_success"], one.evidence["imagined_success"]
        if label == "false_success":
            assert (imagined, real) == (True, False), "the audit bears it out"
            assert one.evidence["p_success_in_span"] >= float(one.evidence["success_threshold"])
        if label == "missed_success":
            assert (imagined, real) == (False, True)
        told = shipped.told(label, "/p")
        assert told["picture"] == f"/p/examples/{label}.webp"
    for label in shipped.missing:
        assert shipped.told(label, "/p")["picture"] is None
    assert shipped.picture("../shipped_examples.py") is None
    assert shipped.picture(INDEX) is None


def test_a_strip_shows_the_span_with_a_frame_of_context(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    one, data = cut(run, WANTED)
    assert one.shown[0] == 19
    assert one.shown[-1] == 31
    assert one.evidence["greatest_difference_in_span"] == pytest.approx(40, abs=0.5)
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    tile = 16 * 7  # 112 pixels high
    bar = picture[13, :, 0] - picture[13, :, 2] > 100  # orange, not white
    assert not bar[: tile - 2].any()
    assert bar[tile + 8 : 7 * tile].all()
    assert not bar[-tile + 4 :].any()
    # The rows are the same pictures but for the 40 grey levels that the imagined ones are brighter.
    top, bottom = picture[15 : 15 + tile, tile + 4 : 7 * tile], picture[-tile:, tile + 4 : 7 * tile]
    assert abs((bottom - top).mean() - 40) < 4
    for first, last in ((5, 40), (-1, 3), (9, 8)):
        with pytest.raises(WovrError, match="frames 0 to 32"):
            cut(run, ShippedExample("teleports", "a", "r-false", first, last, 2, "ann", "why"))


@pytest.mark.parametrize(
    ("first", "last", "frames", "shown"),
    [(4, 6, 33, (3, 4, 5, 6, 7)), (0, 32, 33, (0, 6, 13, 19, 26, 32)), (5, 5, 33, (4, 5, 6))],
)
def test_frames_of_a_strip(first: int, last: int, frames: int, shown: tuple[int, ...]) -> None:
    assert shown_frames(first, last, frames) == shown


def test_a_list_makes_itself_again(
    make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs", "a")
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    asked = {"label": "teleports", "run": "a", "rollout": "r-false", "first": 20, "last": 30, "severity": 2}
    asked |= {"by": "ann", "why": "all of it jumps"}
    spec = tmp_path / "list.json"
    spec.write_text(json.dumps({"schema": 1, "examples": [asked], "missing": {"other": "none was seen"}}))
    assert main(["review", "examples", str(spec), "--out", str(tmp_path / "one")]) == 0
    made = tmp_path / "one" / INDEX
    assert main(["review", "examples", str(made), "--out", str(tmp_path / "two")]) == 0
    for name in (INDEX, "teleports.webp"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert Examples.read(tmp_path / "one").missing == {"other": "none was seen"}


def test_a_damaged_list_is_said_to_be(tmp_path: Path) -> None:
    for text in ('{"schema": 2}', '{"schema": 1, "examples": [{}], "missing": {}}', "[]",
                 '{"schema": 1, "examples": [], "missing": {"nothing": "x"}}'):  # fmt: skip
        (tmp_path / INDEX).write_text(text)
        with pytest.raises((CorruptFileError, WovrError)):
            Examples.read(tmp_path)
    with pytest.raises(WovrError, match="at most"):
        write(tmp_path, {"teleports": (WANTED, b"x" * (MAX_BYTES + 1))}, {})
