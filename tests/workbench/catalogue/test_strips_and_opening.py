"""Pictures of items, their scrubber payloads, their evidence and their annotations."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.catalogue.catalogue import Catalogue, CatalogueConfig
from workbench.catalogue.opening import desk_of, evidence_of, payload_of
from workbench.catalogue.payloads import Payloads
from workbench.catalogue.query import parse_query
from workbench.catalogue.strips import StripConfig, Strips, render
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.store.items import Item
from wovr_core.data.episode_files import read_episode, read_rollout
from wovr_core.errors import CorruptFileError

MakeRun = Callable[..., Path]

FLAGGED = parse_query({"flagged": True})


@pytest.fixture
def catalogue(make_run: MakeRun, tmp_path: Path) -> Catalogue:
    make_run(tmp_path, "a")
    return Catalogue(CatalogueConfig(runs=tmp_path, seconds=0.0, patience=60.0))


def item(catalogue: Catalogue, name: str) -> Item:
    found = catalogue.find(name)
    assert found is not None
    return found


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def test_a_strip_shows_real_over_imagined_as_a_person_sees_them(catalogue: Catalogue) -> None:
    false = item(catalogue, "a/imagine/r-false")
    picture = pixels(render(false, StripConfig(count=3, tile=16, quality=100)))
    assert picture.shape == (2 * 16 + 2, 3 * 16 + 2 * 2, 4)
    assert not picture[16:18, :, 3].any(), "clear between the rows"
    assert not picture[:, 16:18, 3].any(), "and between the frames"
    assert (picture[:16, :16, 3] == 255).all()
    rollout = read_rollout(false.path)
    assert false.replay is not None
    real = read_episode(false.replay)
    for row, frames in ((0, real.frames), (18, rollout.frames)):
        for column, k in ((0, 0), (18, 16), (36, 32)):
            shown = picture[row : row + 16, column : column + 16, :3]
            mirrored, stored = (abs(shown - f.astype(int)).mean() for f in (frames[k][:, ::-1], frames[k]))
            assert mirrored < stored, "left and right as a person sees them"
            assert abs(shown.mean() - frames[k].mean()) < 3


def test_strips_are_kept_and_made_anew_when_the_file_changes(
    catalogue: Catalogue, tmp_path: Path, make_rollout: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.catalogue import strips as module
    from wovr_core.data.episode_files import write_rollout

    made: list[str] = []
    monkeypatch.setattr(module, "render", lambda it, config: (made.append(it.id), render(it, config))[1])
    strips = Strips(tmp_path / "cache")
    first = item(catalogue, "a/rl/rl-0")
    data = strips.get(first)
    assert Strips(tmp_path / "cache").get(first) == data
    assert made == ["a/rl/rl-0"]
    write_rollout(first.path.parent, make_rollout("rl-0", chunks=5))
    assert strips.get(item(catalogue, "a/rl/rl-0")) != data
    assert len(made) == 2


def test_strips_and_packs_are_evicted_by_size_and_made_again(catalogue: Catalogue, tmp_path: Path) -> None:
    """The budget holds at every moment; the one that was just asked for is kept, and what went comes back the same."""
    items = [item(catalogue, name) for name in ("a/imagine/r-true", "a/imagine/r-false", "a/rl/rl-0", "a/rl/rl-1")]
    for kind, get in (("strips", lambda c, it: c.get(it)), ("packs", lambda c, it: c.get(it).packs)):
        make = {"strips": Strips, "packs": Payloads}[kind]
        free = make(tmp_path / f"{kind}-free")
        wanted = [get(free, it) for it in items]
        sizes = [path.stat().st_size for path in (tmp_path / f"{kind}-free").glob("*/*")]
        folder, budget = tmp_path / kind, sum(sizes) - min(sizes)  # room for all but one
        small = make(folder, budget=budget)
        for _ in range(2):
            for it, expected in zip(items, wanted, strict=True):
                assert get(small, it) == expected
                kept = list(folder.glob("*/*"))
                assert sum(path.stat().st_size for path in kept) <= budget
        assert 0 < len(kept) < len(items), "something is kept, and something had to go"


@pytest.mark.fault
def test_a_disk_that_takes_nothing_does_not_hide_the_picture(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert pixels(Strips(tmp_path / "file").get(item(catalogue, "a/rl/rl-0"))).shape[0] == 64


@pytest.mark.fault
def test_what_cannot_be_read_says_so(catalogue: Catalogue) -> None:
    good = item(catalogue, "a/imagine/r-true")
    good.path.write_bytes(good.path.read_bytes()[:-100])
    for act in (payload_of, lambda it: render(it, StripConfig())):
        with pytest.raises(CorruptFileError, match=r"r-true\.safetensors"):
            act(good)  # indexed before it broke
        with pytest.raises(CorruptFileError, match=r"r-true\.safetensors"):
            act(item(catalogue, "a/imagine/r-true"))


def test_payloads_carry_the_catalogues_id_and_the_panes_that_there_are(catalogue: Catalogue) -> None:
    panes = {
        name: [pane["key"] for pane in payload_of(item(catalogue, name)).meta["panes"]]
        for name in ("a/imagine/r-false", "a/rl/rl-1", "a/collect/e1")
    }
    assert panes == {
        "a/imagine/r-false": ["real", "imagined", "difference"],
        "a/rl/rl-1": ["imagined"],
        "a/collect/e1": ["real"],
    }
    payload = payload_of(item(catalogue, "a/imagine/r-false"))
    assert payload.id == "a/imagine/r-false"
    (curve,) = (curve for curve in payload.meta["curves"] if curve["key"] == "divergence")
    audit = item(catalogue, "a/imagine/r-false").audit
    assert audit is not None
    assert max(curve["values"]) == pytest.approx(audit.peak, abs=1e-3)
    assert curve["values"].index(max(curve["values"])) == audit.peak_frame


def test_evidence_leads_to_the_frames_it_names(catalogue: Catalogue) -> None:
    evidence = evidence_of(item(catalogue, "a/imagine/r-false"))
    rows = {row["label"]: row for group in evidence["groups"] for row in group["rows"]}
    assert rows["imagined"]["value"] == "success at action 12"
    assert rows["imagined"]["frame"] == 12
    assert rows["really"]["value"] == "no success"
    assert rows["audit"]["tone"] == "bad"
    assert rows["first ≥ 12"]["frame"] == 20
    assert rows["peak difference"]["value"] == "40.0 of 255"
    assert rows["peak difference"]["frame"] >= 20
    assert rows["reason"]["value"] == "contact"
    assert rows["world model"]["value"] == "w1"
    assert "not audited" in str(evidence_of(item(catalogue, "a/rl/rl-1")))
    assert "divergence" not in str(evidence_of(item(catalogue, "a/collect/e1")))


def test_annotations_are_kept_beside_the_run_under_the_rollouts_own_id(catalogue: Catalogue, tmp_path: Path) -> None:
    for name in ("a/imagine/r-false", "a/collect/e1"):
        span = {"id": "s1", "start": 2, "end": 5, "label": "teleports", "severity": 2, "note": "n"}
        edit = {"event": f"e-{len(name)}", "rollout": name, "op": "put", "version": 1, "span": span}
        desk = desk_of(catalogue, item(catalogue, name))
        assert desk.handle(edit, "ann")["ok"]
        assert not desk.handle(edit | {"rollout": "a/rl/rl-0", "event": "x"}, "ann")["ok"]
        late = edit | {"event": "late", "span": span | {"id": "s2", "end": item(catalogue, name).frames}}
        assert not desk.handle(late, "ann")["ok"], "beyond the last frame"
    assert catalogue.answer(FLAGGED).spans == {"a/imagine/r-false": 1, "a/collect/e1": 1}
    log = SpanLog(tmp_path / "a" / LOG_NAME)
    assert {key: len(log.spans(key)) for key in log.rollouts()} == {"r-false": 1, "collect/e1": 1}
    undo = {"event": "u", "rollout": "a/imagine/r-false", "op": "undo", "version": 2, "target": "e-17"}
    assert desk_of(catalogue, item(catalogue, "a/imagine/r-false")).handle(undo, "ann")["ok"]
    assert catalogue.answer(FLAGGED).spans == {"a/collect/e1": 1}


@pytest.mark.fault
def test_a_log_that_cannot_be_read_does_not_hide_the_gallery(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "a" / LOG_NAME).mkdir()
    assert not catalogue.answer(FLAGGED).spans
    assert catalogue.answer(parse_query({})).total
    with pytest.raises(CorruptFileError, match="cannot be read as a span log"):
        desk_of(catalogue, item(catalogue, "a/imagine/r-false"))
