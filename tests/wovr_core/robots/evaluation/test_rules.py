"""What the protocol allows when, and what a report refuses."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from wovr_core.robots.evaluation.evaluation import Evaluation, ProtocolError
from wovr_core.robots.evaluation.plan import PLAN
from wovr_core.robots.evaluation.records import TamperedError
from wovr_core.robots.evaluation.report_data import ReportRefusedError, build_report

Make = Callable[..., Evaluation]
Play = Callable[..., None]


def finish(evaluation: Evaluation, play: Play, good: str = "after") -> None:
    """All trials; `good` succeeds always, the other never; second labels by another person."""
    for trial in evaluation.plan.schedule:
        play(evaluation, trial.number, success=evaluation.policy_of(trial.number) == good)
        if trial.second_label:
            evaluation.label(trial.number, "second", evaluation.policy_of(trial.number) == good, role="video")


def test_a_whole_evaluation_gives_a_report(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(trials=5)
    finish(evaluation, play)
    assert evaluation.missing() == []
    evaluation.unblind("op")
    report = build_report(evaluation)
    after, before = report["policies"]
    assert (after["name"], after["successes"], after["trials"]) == ("after", 5, 5)
    assert (before["name"], before["successes"], before["trials"]) == ("before", 0, 5)
    assert after["clopper_pearson"][0] == pytest.approx(0.025 ** (1 / 5))  # of n of n: (alpha / 2)^(1 / n)
    assert report["comparison"]["barnard_p"] == pytest.approx(2 * 0.5**10, rel=1e-6)  # worst case at p = 1/2
    assert report["comparison"]["different"] is True
    assert len(report["trials"]) == 10
    assert report["digests"]["records"] == evaluation.log.head()
    assert json.loads(json.dumps(report)) == report


def test_names_come_after_labels(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation()
    with pytest.raises(ProtocolError, match="labels first, then names: trial 1 has not been run, and 5 more"):
        evaluation.unblind("op")
    finish(evaluation, play)
    evaluation.unblind("op")
    for forbidden in (
        lambda: evaluation.label(1, "op", True),
        lambda: evaluation.exclude(1, "op", "the object fell"),
        lambda: evaluation.begin(1, "op"),
        lambda: evaluation.unblind("op"),
    ):
        with pytest.raises(ProtocolError):
            forbidden()
    assert evaluation.next_trial() is None


def test_the_second_label_is_another_persons_and_comes_second(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation()
    play(evaluation, 1, label=False)
    with pytest.raises(ProtocolError, match="second comes second"):
        evaluation.label(1, "second", True, role="video")
    evaluation.label(1, "op", True)
    with pytest.raises(ProtocolError, match="another person"):
        evaluation.label(1, "op", True, role="video")
    evaluation.label(1, "second", False, role="video")
    with pytest.raises(ProtocolError, match="another person"):
        evaluation.label(1, "second", True)
    assert evaluation.trial(1).disagree
    with pytest.raises(ProtocolError, match="has not ended"):
        evaluation.label(2, "op", True)


def test_disagreement_is_listed_and_the_operator_counts(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(trials=1)
    for number in (1, 2):
        play(evaluation, number, success=True)
        evaluation.label(number, "second", number == 1, role="video", note="it slipped out")
    evaluation.unblind("op")
    report = build_report(evaluation)
    (found,) = report["disagreements"]
    assert (found["trial"], found["video"]["note"]) == (2, "it slipped out")
    assert [p["successes"] for p in report["policies"]] == [1, 1]


def test_a_safety_abort_is_a_failure_and_never_repeated(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation()
    play(evaluation, 1, how="safety_abort")
    assert evaluation.trial(1).success is False
    assert evaluation.next_trial().number == 2  # type: ignore[union-attr]
    with pytest.raises(ProtocolError, match="not run again"):
        evaluation.begin(1, "op")
    with pytest.raises(ProtocolError, match="counts as a failure"):
        evaluation.label(1, "op", True)


def test_a_fault_is_repeated_as_often_as_declared_then_needs_a_reason(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(trials=1, attempts=2, second_labels=0)
    play(evaluation, 1, how="fault")
    assert evaluation.next_trial().number == 1  # type: ignore[union-attr]
    play(evaluation, 1, how="fault")
    assert evaluation.next_trial().number == 2  # type: ignore[union-attr]
    play(evaluation, 2, success=True)
    with pytest.raises(ProtocolError, match="ended as fault 2 times: exclude it"):
        evaluation.unblind("op")
    with pytest.raises(ProtocolError, match="reason"):
        evaluation.exclude(1, "op", "  ")
    evaluation.exclude(1, "op", "the camera's cable was loose")
    evaluation.unblind("op")
    report = build_report(evaluation)
    by_name = {p["name"]: p for p in report["policies"]}
    excluded = by_name[evaluation.policy_of(1)]
    assert (excluded["trials"], excluded["excluded"], excluded["worst_case"]) == (0, 1, [0, 1])
    assert report["exclusions"][0]["why"] == "the camera's cable was loose"
    assert [v["attempt"] for v in report["void_attempts"]] == [1, 2]


def test_a_report_needs_every_trial(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(second_labels=0)
    for number in (1, 2, 3):
        play(evaluation, number)
    with pytest.raises(ReportRefusedError) as caught:
        build_report(evaluation)
    assert [r.split()[1] for r in caught.value.reasons[:3]] == ["4", "5", "6"]
    assert "not unblinded" in caught.value.reasons[-1]


def test_an_abandoned_evaluation_says_so(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(second_labels=0)
    play(evaluation, 1)
    play(evaluation, 2)
    evaluation.abandon("op", "the gripper broke")
    assert evaluation.next_trial() is None
    evaluation.unblind("op")
    report = build_report(evaluation)
    assert report["ended_early"]["kind"] == "abandon"
    assert report["ended_early"]["why"] == "the gripper broke"
    assert report["not_run"] == 4


@pytest.mark.parametrize("what", ["videos/trial-001-1.mp4", "episodes/trial-002-1.safetensors", "initial/7.png"])
@pytest.mark.parametrize("lost", [True, False])
def test_a_changed_or_missing_file_is_refused(make_evaluation: Make, play: Play, what: str, lost: bool) -> None:
    evaluation = make_evaluation(trials=1, second_labels=0)
    finish(evaluation, play)
    evaluation.unblind("op")
    path = evaluation.folder / what
    if lost:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ReportRefusedError, match="missing" if lost else "not what was recorded"):
        build_report(evaluation)


def test_a_label_slipped_in_after_unblinding_is_refused(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(trials=1, second_labels=0)
    finish(evaluation, play)
    evaluation.unblind("op")
    body = {"trial": 1, "by": "op", "success": True, "role": "operator", "note": "", "source": "person"}
    evaluation.log.append("label", body)  # past the rules
    with pytest.raises(ReportRefusedError, match="after unblinding"):
        build_report(evaluation)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("abandon", {"by": "op", "why": "enough", "trials": 2}),
        ("stop", {"block": 1, "trials": 2, "e_value": 20.0}),
        ("begin", {"trial": 1, "attempt": 2, "by": "op", "pid": 1}),
        ("end", {"trial": 1, "attempt": 1, "how": "safety_abort", "why": ""}),
    ],
)
def test_nothing_at_all_may_be_written_after_unblinding(
    make_evaluation: Make, play: Play, kind: str, body: dict[str, object]
) -> None:
    evaluation = make_evaluation(trials=2, second_labels=0)
    finish(evaluation, play)
    evaluation.unblind("op")
    evaluation.log.append(kind, body)  # past the rules
    with pytest.raises(ReportRefusedError) as caught:
        build_report(evaluation)
    assert any(f"kind {kind!r} after unblinding" in reason for reason in caught.value.reasons)


def test_an_end_cannot_leave_out_a_trial_that_was_begun(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(trials=3, second_labels=0)
    for number in (1, 2, 3):
        play(evaluation, number)
    evaluation.log.append("abandon", {"by": "op", "why": "enough", "trials": 2})  # past the rules: one too few
    assert len(evaluation.standing().required()) == 3
    evaluation.unblind("op")
    report = build_report(evaluation)
    assert [trial["number"] for trial in report["trials"]] == [1, 2, 3]
    assert report["not_run"] == 3


@pytest.mark.parametrize("design", ["fixed", "sequential"])
def test_an_end_that_the_declared_test_did_not_call_for_is_refused(
    make_evaluation: Make, play: Play, design: str
) -> None:
    evaluation = make_evaluation(trials=20, design=design, second_labels=0)
    for number in (1, 2, 3, 4):
        play(evaluation, number, success=evaluation.policy_of(number) == "after")
    evaluation.log.append("stop", {"block": 2, "trials": 4, "e_value": 20.0})  # past the rules
    evaluation.unblind("op")
    with pytest.raises(ReportRefusedError, match="the declared test was not"):
        build_report(evaluation)


def test_a_label_mended_after_the_stop_does_not_undo_it(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(trials=20, design="sequential", second_labels=0)
    while (trial := evaluation.next_trial()) is not None:
        play(evaluation, trial.number, success=evaluation.policy_of(trial.number) == "after")
        evaluation.stop_if_decided()
    evaluation.label(1, "op", evaluation.policy_of(1) != "after")
    evaluation.unblind("op")
    report = build_report(evaluation)
    assert report["ended_early"]["kind"] == "stop"
    assert report["comparison"]["different"] is False  # by the labels that count now


def test_a_changed_plan_is_found_out(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation()
    play(evaluation, 1)
    path = evaluation.folder / PLAN
    path.write_text(path.read_text().replace('"alpha": 0.05', '"alpha": 0.5'))
    with pytest.raises(TamperedError):
        Evaluation(evaluation.folder).standing()


def test_a_sequential_test_stops_blind_and_the_report_holds_it(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(trials=20, design="sequential", second_labels=0)
    while (trial := evaluation.next_trial()) is not None:
        play(evaluation, trial.number, success=evaluation.policy_of(trial.number) == "after")
        evaluation.stop_if_decided()
    result = evaluation.sequential()
    assert result.stopped_at is not None
    assert result.stopped_at < 12
    assert result.e_values[-1] >= 20 > result.e_values[-2]
    assert sum(bool(t.attempts) for t in evaluation.standing().trials) == 2 * result.stopped_at
    evaluation.unblind("op")
    report = build_report(evaluation)
    assert report["ended_early"]["kind"] == "stop"
    assert report["comparison"]["different"] is True
    assert report["not_run"] == 40 - 2 * result.stopped_at


def test_only_a_simulated_lab_labels_itself(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation()
    play(evaluation, 1, label=False)
    evaluation.label(1, "simulator", True, source="simulator")
    real = evaluation.plan.__class__(**{**evaluation.plan.__dict__, "simulated": False})
    evaluation.plan = real
    with pytest.raises(ProtocolError, match="simulated lab"):
        evaluation.label(1, "simulator", True, source="simulator")


@pytest.mark.fault
def test_what_a_crash_left_running_is_recorded_and_begun_again(make_evaluation: Make, play: Play) -> None:
    evaluation = make_evaluation(second_labels=0)
    evaluation.begin(1, "op")
    (evaluation.folder / "steps").mkdir()
    (evaluation.folder / "steps" / "trial-001-1.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"st')
    assert evaluation.next_trial().number == 2  # type: ignore[union-attr]  # nobody may run 1 while it may be running
    with evaluation.running():
        assert evaluation.next_trial().number == 1  # type: ignore[union-attr]
        with pytest.raises(Exception, match="another process"), evaluation.running():
            pass
    attempt = evaluation.trial(1).attempts[0]
    assert (attempt["how"], attempt["steps"]) == ("interrupted", 2)
    play(evaluation, 1, success=True)
    assert len(evaluation.trial(1).attempts) == 2
    assert evaluation.trial(1).success is True
