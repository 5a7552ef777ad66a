"""From annotations to a version on disk, and what the stages read out of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from apps.cli import main
from workbench.corrections import CorrectionsConfig, Flag, make, remake, source_of
from workbench.flags import AUDITOR, add_audit_flags, annotation_minutes, audit_flags, logged_flags
from workbench.scrubber.span_log import SpanLog
from workbench.store.checkpoints import find_checkpoints, find_edges
from wovr_core.data.corrections import CorrectionSet, reference_of
from wovr_core.data.episode_files import read_episode, read_rollout, write_episode, write_rollout
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.reward.corrected_labels import label_corrections
from wovr_core.world_model.corrected_windows import weighted_sequences


@pytest.fixture
def run(tmp_path, make_run):
    return make_run(tmp_path)


def flags_of(run):
    add_audit_flags(run, source_of(run))
    return logged_flags(run, source_of(run))


def set_of(run, **changes):
    return make(source_of(run), flags_of(run), CorrectionsConfig(**changes), run / "corrections")


def by_rollout(made):
    return {c.rollout: c for c in made.corrections}


def test_the_audit_flags_what_it_found_once_and_people_overrule_it(run):
    source = source_of(run)
    assert add_audit_flags(run, source) == 2
    assert add_audit_flags(run, source) == 0
    found = {(f.rollout, f.label): f for f in logged_flags(run, source)}
    false, missed = found["r-false", "false_success"], found["r-missed", "missed_success"]
    assert (false.first, false.last, false.author) == (12, 32, AUDITOR)  # imagined from action 12 to the end
    assert (missed.first, missed.last) == (14, 32)  # as the simulator saw it
    log = SpanLog(run / "annotations.jsonl")
    edit = {"event": "e1", "op": "delete", "id": false.span, "version": log.version("r-false", false.span) + 1}
    log.append(edit, rollout="r-false", author="ann", frames=33)
    assert add_audit_flags(run, source) == 0
    assert [f.rollout for f in logged_flags(run, source)] == ["r-missed"]


def test_divergence_before_the_false_success_is_flagged_too(run, make_rollout):
    rows = json.loads((run / "audit" / "rows.json").read_text())
    row = next(r for r in rows if r["rollout_id"] == "r-false")
    row["divergence"][5] = 30.0
    (run / "audit" / "rows.json").write_text(json.dumps(rows))
    confirmed = next(r for r in rows if r["rollout_id"] == "r-true")
    flags = audit_flags(source_of(run), rows, 12.0)
    assert [(f.first, f.last) for f in flags if f.label == "other"] == [(5, 11)]
    confirmed["divergence"][3] = 30.0  # a confirmed success differs as much: that is no fault then
    assert not [f for f in audit_flags(source_of(run), rows, 12.0) if f.label == "other"]
    made = set_of(run)
    assert by_rollout(made)["r-false"].masked_from == 5
    assert [(x.first, x.success) for x in by_rollout(made)["r-false"].labels] == [(12, False)]


def test_labels_masks_and_windows_are_exact_to_the_frame(run):
    made = set_of(run, reward_weight=5.0, window_weight=7.0, margin=2)
    false, missed = by_rollout(made)["r-false"], by_rollout(made)["r-missed"]
    assert (false.masked_from, missed.masked_from) == (12, None)
    assert (false.window.first, false.window.last) == (10, 32)
    real, imagined = label_corrections(made)
    assert len(real) == len(imagined) == 21 + 19
    assert int(real.labels.sum()) == 19
    assert set(real.weights) == {5.0}
    rollout, replay = made.rollout("r-false"), made.replay("r-false")
    assert np.array_equal(imagined.frames[:21], rollout.frames[12:])
    assert np.array_equal(real.frames[:21], replay.frames[12:])


def test_world_model_samples_are_the_real_course_behind_what_imagination_saw(run):
    made = set_of(run, window_weight=7.0, elsewhere_weight=0.5, margin=0)
    sequence = weighted_sequences(made)[0]  # r-false, flagged 12..32
    rollout, replay = made.rollout("r-false"), made.replay("r-false")
    assert sequence.frames.shape[0] == len(sequence.actions) + 1 == len(replay.frames) + 4
    assert np.array_equal(sequence.frames[0], rollout.context_frames[0])  # the reference
    assert np.array_equal(sequence.actions[3], rollout.context_actions[4])  # it led to the replay's first frame
    assert np.array_equal(sequence.actions[4:], rollout.actions)
    assert (sequence.weights[:4] == 0).all()
    for step in range(len(replay.frames)):
        predicts = set(range(step + 1, step + 9)) & set(range(12, 33))
        assert sequence.weights[4 + step] == (7.0 if predicts else 0.5)


def test_a_version_is_content_and_can_be_made_again_byte_for_byte(run, tmp_path):
    made = set_of(run)
    assert set_of(run).version == made.version
    again = remake(source_of(run), made, tmp_path / "elsewhere")
    ours = {p.relative_to(made.folder): p.read_bytes() for p in made.folder.rglob("*") if p.is_file()}
    theirs = {p.relative_to(again.folder): p.read_bytes() for p in again.folder.rglob("*") if p.is_file()}
    assert ours == theirs
    # A further annotation is another version; the old one stays as it was.
    log = SpanLog(run / "annotations.jsonl")
    span = {"id": "s1", "start": 3, "end": 5, "label": "teleports", "severity": 2, "note": ""}
    log.append({"event": "e1", "op": "put", "version": 1, "span": span}, rollout="r-true", author="ann", frames=33)
    later = set_of(run)
    assert later.version != made.version
    assert by_rollout(later)["r-true"].masked_from == 3
    assert by_rollout(later)["r-true"].labels == ()  # judged no success in those frames
    assert remake(source_of(run), CorrectionSet(made.folder), tmp_path / "old").version == made.version


def test_damage_is_noticed(run):
    made = set_of(run)
    file = made.folder / "rollouts" / "r-false.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(CorruptFileError, match="changed since"):
        made.rollout("r-false")
    manifest = json.loads((made.folder / "manifest.json").read_text())
    manifest["corrections"][0]["masked_from"] = 1
    (made.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptFileError, match="what its version says"):
        CorrectionSet(made.folder)
    with pytest.raises(CorruptFileError, match="missing"):
        CorrectionSet(run / "audit")


def test_the_control_is_as_much_of_what_nobody_flagged(run):
    flagged, control = set_of(run), set_of(run, kind="control")
    assert set(by_rollout(control)) == {"r-true", "r-failed"}
    assert len(control.corrections) == len(flagged.corrections)
    assert all(c.masked_from is None for c in control.corrections)
    assert not control.horizons
    assert by_rollout(control)["r-failed"].labels[0].success is False
    assert all(c.window for c in control.corrections)


def test_a_control_is_labelled_by_what_its_replay_shows_to_the_frame(run):
    control = set_of(run, kind="control", reward_weight=5.0)
    labels = by_rollout(control)["r-true"].labels  # imagined from 12 on, real from 14 on
    assert [(x.first, x.last, x.success, x.weight) for x in labels] == [(12, 13, False, 5.0), (14, 32, True, 5.0)]
    real, _ = label_corrections(control)
    for name, correction in by_rollout(control).items():
        learned = real.labels[np.array(real.episodes) == name]
        first, last = correction.labels[0].first, correction.labels[-1].last
        assert np.array_equal(learned, control.replay(name).success[first : last + 1])
    (run / "audit" / "episodes" / "r-true.safetensors").unlink()  # no replay: what was imagined is all there is
    labels = by_rollout(set_of(run, kind="control"))["r-true"].labels
    assert [(x.first, x.last, x.success) for x in labels] == [(12, 32, True)]


def test_a_controls_window_begins_as_long_before_its_labels_as_the_flagged_ones(run):
    flags = [*flags_of(run), Flag("r-false", "s", 1, 5, 11, "other", 1, AUDITOR)]
    config = CorrectionsConfig(margin=0)
    flagged = by_rollout(make(source_of(run), flags, config, run / "corrections"))["r-false"]
    control = by_rollout(make(source_of(run), flags, replace(config, kind="control"), run / "corrections"))["r-true"]
    assert (flagged.window.first, flagged.window.last) == (control.window.first, control.window.last) == (5, 32)
    assert flagged.labels[0].first == control.labels[0].first == 12


def test_a_false_success_ends_where_the_task_is_really_done_after_all(run):
    source = source_of(run)
    replay = source.replay("r-false")
    write_episode(replay.parent, replace(read_episode(replay), success=np.arange(33) >= 30))
    flag = next(f for f in audit_flags(source, json.loads((run / "audit" / "rows.json").read_text()), 12.0))
    assert (flag.rollout, flag.first, flag.last) == ("r-false", 12, 29)


def test_noise_puts_flags_on_what_is_right(run):
    noisy = set_of(run, noise=0.5)
    assert len(noisy.corrections) == 2
    assert len(set(by_rollout(noisy)) & {"r-false", "r-missed"}) == 1
    assert set_of(run, noise=0.5).version == noisy.version
    assert set(by_rollout(set_of(run, noise=1.0))) == {"r-true", "r-failed"}
    with pytest.raises(WovrError, match="from 0 to 1"):
        set_of(run, noise=30)


def test_too_few_unflagged_rollouts_is_said(run):
    flags = [*flags_of(run), Flag("r-true", "s", 1, 3, 5, "teleports", 2, "ann")]
    with pytest.raises(WovrError, match="3 unflagged rollouts are needed, there are 1"):
        make(source_of(run), flags, CorrectionsConfig(kind="control"), run / "corrections")
    limited = make(source_of(run), flags, CorrectionsConfig(kind="control", count=1), run / "corrections")
    assert len(limited.corrections) == 1
    with pytest.raises(WovrError, match="nothing to correct"):
        make(source_of(run), [], CorrectionsConfig(), run / "corrections")
    with pytest.raises(WovrError, match="is not in"):
        make(source_of(run), [replace(flags[0], rollout="gone")], CorrectionsConfig(), run / "corrections")


def test_a_start_is_bounded_where_its_successes_are_mostly_flagged(run):
    reference = reference_of(read_rollout(run / "imagine" / "rollouts" / "r-false.safetensors").context_frames[0])
    horizon = set_of(run).horizons[0]
    assert (horizon.reference, horizon.step, horizon.frame) == (reference, 5, 12)
    assert set_of(run, horizon_share=0.51).horizons == ()  # one of two imagined successes


def test_siblings_come_along(run, make_rollout):
    sibling = replace(make_rollout("r-sibling", size=16), group_id="other")
    write_rollout(run / "imagine" / "rollouts", sibling)
    made = set_of(run, count=1)
    groups = list(made.groups())
    assert [len(g.rollouts) for g in groups] == [4]  # not the one of another group


def test_corrections_stand_in_the_lineage(run):
    made = set_of(run)
    edges = find_edges(run, find_checkpoints(run))
    mine = [e for e in edges if e.child == made.version]
    assert [(e.child_kind, e.role, e.parent_kind) for e in mine] == [("corrections", "rollouts", "rollouts")]


def test_the_command(run, capsys, tmp_path):
    assert main(["correct", str(run)]) == 0
    out = capsys.readouterr().out
    assert "2 new spans from the audit" in out
    version = next(iter((run / "corrections").iterdir())).name
    assert f"corrections {version}" in out
    assert main(["correct", str(run), "--rebuild", version, "--out", str(tmp_path / "o")]) == 0
    assert (tmp_path / "o" / version / "manifest.json").is_file()
    assert main(["correct", str(run), "--rebuild", "nope"]) == 2
    assert main(["correct", str(run), "--control", "--count", "0"]) == 2


def test_the_annotators_time_is_watching_and_flagging():
    assert annotation_minutes([97] * 40, 10) == pytest.approx((40 * 9.7 + 150) / 60, abs=0.05)
