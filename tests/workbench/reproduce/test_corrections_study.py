"""The corrections study: its units, and one task of it from end to end at smoke size."""

import json
from dataclasses import replace

import pytest

from apps.cli import main
from workbench.corrections import FALSE, Flag
from workbench.reproduce.results import read_rows
from workbench.reproduce.studies import StudyConfig, SuiteTasks, units
from wovr_core import recipes
from wovr_core.data.corrections import CorrectionSet, reference_of
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.files import read_json


def test_units_are_suites_and_noise_is_swept_on_the_first_with_one_seed():
    suites = (SuiteTasks("libero_object", (0, 4)), SuiteTasks("libero_goal", (1,)))
    config = StudyConfig("corrections", recipes.get("smoke"), suites, seeds=(0, 1))
    found = units(config)
    assert [str(u) for u in found[:3]] == [f"libero_object {arm} seed 0" for arm in ("none", "control", "flagged")]
    assert all(u.recipe.tasks == u.suite.tasks for u in found)
    assert {(u.suite.suite, u.seed) for u in found if u.name.startswith("flagged_")} == {("libero_object", 0)}
    assert len(found) == 5 + 3 * 3
    assert len({u.config("corrections") for u in found}) == len(found)
    only = units(replace(config, only=("control",), seeds=(1,)))
    assert [str(u) for u in only] == ["libero_object control seed 1", "libero_goal control seed 1"]


def flag_every_other(source, rows, threshold):
    """In place of the audit's: an untrained policy never succeeds, not even in imagination."""
    names = sorted(str(row["rollout_id"]) for row in rows)
    return [Flag(name, f"s{i}", 1, 4, 9, FALSE, 3, "audit") for i, name in enumerate(names) if i % 2 == 0]


@pytest.mark.slow
def test_the_study_on_libero(wovr_home, tmp_path, capsys, monkeypatch):
    """Three arms that differ in what they learned, each row on disk as it comes; a second call has nothing to do."""
    monkeypatch.setattr("workbench.reproduce.corrections.audit_flags", flag_every_other)
    argv = [
        "reproduce", "corrections", "--recipe", "smoke", "--tasks", "libero_object=0", "--seeds", "0", "--results",
        str(tmp_path), "--run", "proof", "--set", "threads=1", "--set", "rl.success_share=[0,1]",
        "--set", "evaluate.max_steps=8",
    ]  # fmt: skip
    assert main([*argv, "--only", "control", "--only", "none"]) == 0
    assert {r["arm"] for r in read_rows(tmp_path / "corrections.json")} == {"none", "control"}
    assert main([*argv, "--only", "flagged"]) == 0
    rows = {r["arm"]: r for r in read_rows(tmp_path / "corrections.json")}
    assert all(r["trials"] == 2 for r in rows.values())
    whole = {name: r["arm_as_a_whole"] for name, r in rows.items()}
    # Six starts with two rollouts each, one of them flagged; those of one episode in four judge.
    held_out = {sum(r[f"reward_{kind}_positives"][1] for kind in ("false", "true")) for r in whole.values()}
    held = held_out.pop()
    assert not held_out
    assert 2 <= held < 12
    corrected = {"none": 0, "control": 6 - held // 2, "flagged": 6 - held // 2}
    assert {name: r["corrected"] for name, r in whole.items()} == corrected
    assert {name: r["real_episodes"] for name, r in rows.items()} == corrected
    assert {name: r["audited_to_flag"] for name, r in rows.items()} == {n: 2 * k for n, k in corrected.items()}
    assert len({r["corrections"] for r in whole.values()}) == 3
    for row in whole.values():
        assert row["still_false"][1] == held // 2
        assert row["world_model_error"] > 0
    assert all(r["before_trials"] == 2 for r in rows.values())
    assert whole["flagged"]["annotator_minutes"] > 0 == whole["control"]["annotator_minutes"]

    run = wovr_home / "runs" / "proof-libero_object"
    (judged,) = run.glob("audit_keyframes-*")
    starts = {reference_of(k.context_frames[0]) for k in read_keyframes(judged / "keyframes.safetensors")}
    assert starts.isdisjoint(read_json(judged / "config.json")["inputs"]["excluded"].split(","))
    version = whole["flagged"]["corrections"]
    used = {
        folder.name.rsplit("-", 1)[0]
        for folder in run.glob("*-*")
        if read_json(folder / "config.json")["inputs"].get("corrections") == version
    }
    assert used == {"refine", "rl"}
    manifests = [read_json(p) for p in run.glob("re*-*/*/manifest.json")]
    assert {"reward", "world_model"} <= {m["kind"] for m in manifests if m["lineage"].get("corrections") == version}
    made = CorrectionSet(run / "corrections" / version)
    assert all(c.masked_from == 4 for c in made.corrections)

    before = (tmp_path / "corrections.json").read_text()
    capsys.readouterr()
    assert main([*argv, "--only", "none", "--only", "flagged"]) == 0
    assert (tmp_path / "corrections.json").read_text() == before
    assert main(["reproduce", "report", "--results", str(tmp_path)]) == 0
    assert "unflagged corrections (control)" in (tmp_path / "README.md").read_text()
    assert json.loads(before)["command"] == (
        "wovr reproduce corrections --recipe smoke --tasks libero_object=0 --seeds 0 --set threads=1 "
        "--set 'rl.success_share=[0,1]' --set evaluate.max_steps=8"
    )
