"""Evidence beside rollouts: what the files say, what is missing and why, and when it is gathered anew."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from workbench.evidence.evidence import Summary
from workbench.evidence.gather import EvidenceError, EvidenceStore, evidence_of
from workbench.evidence.sources import read_sources
from workbench.store.database import DatabaseConfig
from workbench.store.indexer import Indexer, UpdateOptions
from workbench.store.items import first_divergent_frame
from workbench.store.review_tables import EvidenceRow
from workbench.store.store import Store
from wovr_core.checkpoints import save_checkpoint
from wovr_core.data.episode_files import read_episode, read_rollout, write_episode, write_rollout
from wovr_core.files import write_json
from wovr_core.types import Episode, FloatArray, Rollout, Start
from wovr_core.world_model.measures.probe import ProbeConfig, build

FALSE = "a/imagine/r-false"


@pytest.fixture
def run(make_run: Callable[..., Path], tmp_path: Path) -> Path:
    return make_run(tmp_path, "a")


@pytest.fixture
def store(run: Path, tmp_path: Path):
    with Store.open(DatabaseConfig(f"sqlite:///{tmp_path}/store.db")) as opened:
        Indexer(opened).update([run])
        yield opened


def look_again(store: Store, run: Path) -> None:
    Indexer(store).update([run], UpdateOptions(thorough=True))


def scores(run: Path, about: str | None = None, stage: str = "hallucination-1") -> None:
    rows = []
    for n, name in enumerate(("r-true", "r-false", "r-missed", "r-failed")):
        names = ("disagreement", "seed_frames", "seed_success", "weights_frames", "weights_success")
        rows.append({"rollout_id": name, **dict.fromkeys(names, n / 4), "imagined_success": True})
    write_json(run / stage / "rows.json", rows)
    if about:
        write_json(run / stage / "config.json", {"inputs": {"rollouts": about}})


def add_probe(run: Path) -> None:
    config = ProbeConfig(image_size=16, width=8, keypoints=4, hidden=8)
    folder = run / "probe-1"
    probe = build(config, 0)
    version = save_checkpoint(folder / "probe", "probe", asdict(config), probe.state_dict(), lineage={})
    outputs = {"probe": "/moved/away", "version": version, "error_cm": {"gripper": 1.0, "object": 2.0}}
    write_json(folder / "outputs.json", {"outputs": outputs, "seconds": 1.0})


def test_an_audited_rollout(store: Store, run: Path) -> None:
    scores(run)
    found = evidence_of(FALSE, store)
    rollout, replay = (
        read_rollout(run / "imagine/rollouts/r-false.safetensors"),
        run / "audit/episodes/r-false.safetensors",
    )
    real = read_episode(replay).frames.astype(float)
    assert found.divergence is not None
    assert found.divergence == pytest.approx(np.abs(rollout.frames - real).mean(axis=(1, 2, 3)), abs=1e-3)
    assert (found.first_divergent, found.divergence_threshold) == (20, 12.0)
    assert found.rule == "first frame whose mean absolute pixel difference is at least 12 of 255"
    assert (found.imagined_success, found.imagined_step, found.real_success) == (True, 12, False)
    assert found.real is not None
    assert (found.real.kind, found.real.path, found.real.offset, found.real.same_actions) == ("replay", replay, 0, True)
    assert found.seeds is not None
    assert found.seeds["disagreement"] == 0.25
    assert set(found.missing) == {"object_error"}
    assert "no position probe" in found.missing["object_error"]


def test_what_was_not_audited_says_so(store: Store) -> None:
    found = evidence_of("a/rl/rl-1", store)
    assert found.real_success is None
    assert found.divergence is None
    assert found.first_divergent is None
    assert found.real is not None, "the episode that it starts from is there to look at"
    assert (found.real.kind, found.real.offset, found.real.same_actions) == ("recorded", 5, False)
    assert found.missing["divergence"] == "the recorded episode executed other actions"
    assert set(found.missing) == {"divergence", "real_success", "seeds", "object_error"}


def test_a_recorded_episode_of_the_same_actions_is_compared(
    store: Store, run: Path, make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]
) -> None:
    episode = make_episode("robot", length=40, success_at=19)
    rollout = make_rollout("same", chunks=2, success_at=12)
    rollout = replace(rollout, start=Start("robot", 6), actions=episode.actions[6:22])
    write_episode(run / "collect" / "episodes", episode)
    write_rollout(run / "rl" / "rollouts", rollout)
    look_again(store, run)
    found = evidence_of("a/rl/same", store)
    assert found.divergence is not None
    wanted = np.abs(rollout.frames - episode.frames[6:23].astype(float)).mean(axis=(1, 2, 3))
    assert found.divergence == pytest.approx(wanted, abs=1e-3)
    assert found.real_success is True, "frame 19 is 13 actions after the start, within the audit's tolerance"
    assert "divergence" not in found.missing


@pytest.mark.fault
def test_a_damaged_replay_leaves_what_the_audit_wrote(store: Store, run: Path) -> None:
    (run / "audit/episodes/r-false.safetensors").write_bytes(b"x")
    found = evidence_of(FALSE, store)
    assert found.real is None
    assert "cannot be read" in found.missing["real"]
    assert found.first_divergent == 20


@pytest.mark.fault
def test_a_damaged_list_of_scores_is_named_and_the_audit_serves(store: Store, run: Path) -> None:
    (run / "hallucination-1").mkdir()
    (run / "hallucination-1" / "rows.json").write_text("[{")
    sources = read_sources(run)
    assert len(sources.problems) == 1
    assert "hallucination-1/rows.json" in sources.problems[0]
    assert evidence_of(FALSE, store).real_success is False


def test_scores_of_other_rollouts_with_the_same_ids_are_not_taken(store: Store, run: Path) -> None:
    write_json(run / "imagine" / "outputs.json", {"outputs": {"version": "v1"}, "seconds": 1.0})
    scores(run, about="v2")
    assert evidence_of(FALSE, store).seeds is None
    scores(run, about="v1", stage="hallucination-0")
    assert evidence_of(FALSE, store).seeds is not None


def test_summaries_are_kept_until_a_file_changes(store: Store, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = EvidenceStore(store)
    first = evidence.summaries([1])
    assert len(first) == 6, "every rollout, no episode"
    summary = first[FALSE]
    assert (summary.real_success, summary.first_divergent, summary.disagreement) == (False, 20, None)
    assert first["a/rl/rl-0"].real_success is None
    monkeypatch.setattr("workbench.evidence.gather._with_sources", lambda *_: pytest.fail("made again"))
    assert evidence.summaries([1]) == EvidenceStore(store).summaries([1]) == first
    monkeypatch.undo()
    scores(run)
    assert evidence.summaries([1])[FALSE].disagreement == 0.25
    with store.read() as session:
        rows = {row.record_id: row.summary for row in session.scalars(select(EvidenceRow))}
    assert Summary.from_json(json.loads(json.dumps(rows[FALSE]))) == evidence.summaries([1])[FALSE]


def test_the_short_and_the_long_say_the_same(store: Store, run: Path) -> None:
    scores(run)
    evidence = EvidenceStore(store)
    before = evidence.summaries([1])
    for record in before:
        evidence.of(record)
    assert evidence.summaries([1]) == before


def test_a_record_that_is_rewritten_is_looked_at_again(store: Store, run: Path) -> None:
    evidence = EvidenceStore(store)
    assert evidence.summaries([1])["a/rl/rl-1"].p_success == 0.9
    path = run / "rl" / "rollouts" / "rl-1.safetensors"
    rollout = read_rollout(path)
    write_rollout(path.parent, replace(rollout, p_success=rollout.p_success - np.float32(0.05)))
    os.utime(path, ns=(1, 1))
    look_again(store, run)
    assert evidence.summaries([1])["a/rl/rl-1"].p_success == 0.85


def test_object_errors_are_distances_to_where_things_really_were(store: Store, run: Path) -> None:
    add_probe(run)
    asked: list[list[int]] = []
    truth = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)

    def positions(episode: Episode, frames: object) -> FloatArray:
        asked.append(list(frames))  # type: ignore[call-overload]
        return truth

    evidence = EvidenceStore(store, positions)
    assert evidence.of(FALSE).missing["object_error"] == "not measured: ask for objects"
    assert asked == [], "the simulator is not started unasked"
    found = evidence.of(FALSE, objects=True)
    assert asked == [[0, 8, 16, 24, 32]]
    assert found.object_error is not None
    assert found.missing == {"seeds": found.missing["seeds"]}
    probe = build(ProbeConfig(image_size=16, width=8, keypoints=4, hidden=8), 0).eval()
    rollout = read_rollout(run / "imagine/rollouts/r-false.safetensors")
    real = read_episode(run / "audit/episodes/r-false.safetensors")
    for frames, side in ((rollout.frames, found.object_error.imagined), (real.frames, found.object_error.floor)):
        wanted = 100 * np.sqrt(((probe.locate(frames[::8], 0) - truth) ** 2).sum(-1))
        np.testing.assert_allclose(np.transpose([side["gripper"], side["object"]]), wanted, atol=0.01)
    gaps = np.subtract(found.object_error.imagined["object"], found.object_error.floor["object"])
    kept = evidence.summaries([1])[FALSE].object_excess
    assert kept is not None
    assert kept["object"] == pytest.approx(max(gaps.max(), 0))
    evidence.of(FALSE)
    assert evidence.summaries([1])[FALSE].object_excess == kept, "a look without objects forgets nothing"


@pytest.mark.parametrize(
    ("record", "why"), [("a/imagine/none", "no rollout"), ("a/collect/e0", "an episode that was executed")]
)
def test_what_there_is_no_evidence_about(store: Store, record: str, why: str) -> None:
    with pytest.raises(EvidenceError, match=why):
        evidence_of(record, store)


def test_the_rule_of_the_first_divergent_frame() -> None:
    assert first_divergent_frame([0, 11.9, 12.0, 3], 12.0) == 2
    assert first_divergent_frame([0, 1], 12.0) is None
