"""The whole main job at its smallest, on real LIBERO, through the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.cli import main
from wovr_core.audit.outcomes import audit_rollout
from wovr_core.checkpoints import load_checkpoint
from wovr_core.data.episode_files import EpisodeSet, read_episode, read_rollout
from wovr_core.pipeline import STAGES
from wovr_core.stages.folder import read_metrics


def wovr(*argv: str, home: Path, **kwargs) -> subprocess.Popen:
    environment = os.environ | {"WOVR_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-m", "apps.cli", *argv], env=environment, **kwargs)


def pipeline(home: Path, name: str, until: str = "pipeline") -> None:
    process = wovr("run", until, "--recipe", "smoke", "--run", name, home=home, stderr=subprocess.PIPE, text=True)
    _, error = process.communicate(timeout=1800)
    assert process.returncode == 0, error


def here(*argv: str) -> int:
    """The command line in this process, which has imported everything already; for runs that need no new process."""
    threads = torch.get_num_threads()
    try:
        return main(argv)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(smoke_run) -> Path:
    """A finished run of the smoke recipe."""
    return smoke_run


def outputs(run: Path, stage: str) -> dict:
    return json.loads((run / stage / "outputs.json").read_text())["outputs"]


def versions(run: Path) -> dict[str, str]:
    """What every stage made, named by its content."""
    found = {}
    for manifest in run.glob("*/*/manifest.json"):
        found[str(manifest.relative_to(run))] = json.loads(manifest.read_text())["version"]
    for index in run.glob("*/*/index.json"):
        found[str(index.relative_to(run))] = index.read_text()
    return found


def test_every_stage_finished(finished):
    for stage in STAGES:
        assert (finished / stage / "outputs.json").exists(), stage
        assert (finished / stage / "config.json").exists(), stage
        assert read_metrics(finished / stage / "metrics.jsonl"), stage
    assert not list(finished.rglob("*.tmp"))


def test_training_never_saw_an_evaluation_state(finished):
    for stage in ("collect", "collect_base", "collect_evolved"):
        for episode in EpisodeSet(finished / stage / "episodes"):
            assert episode.info.get("start", "training") == "training"
    starts = {e.info["start"] for e in EpisodeSet(finished / "evaluate" / "episodes")}
    assert starts == {"evaluation"}


def test_both_evaluations_used_the_same_initial_states(finished):
    base, final = (EpisodeSet(finished / s / "episodes") for s in ("evaluate_base", "evaluate"))
    assert list(base.paths) == list(final.paths)
    for name in base.paths:
        np.testing.assert_array_equal(base.read(name).sim_states[0], final.read(name).sim_states[0])
        np.testing.assert_array_equal(base.read(name).frames[0], final.read(name).frames[0])


def test_the_audit_replayed_the_rollouts_own_actions_from_their_own_start(finished):
    rows = {row["rollout_id"]: row for row in json.loads((finished / "audit" / "rows.json").read_text())}
    rollouts = EpisodeSet(finished / "imagine" / "rollouts").paths
    assert rows.keys() == rollouts.keys()
    for name, path in rollouts.items():
        rollout, real = read_rollout(path), read_episode(finished / "audit" / "episodes" / path.name)
        np.testing.assert_array_equal(real.actions, rollout.actions)
        np.testing.assert_array_equal(real.sim_states[0], rollout.sim_state)
        # The first frame is the keyframe's own: restored exactly, rendered exactly.
        np.testing.assert_array_equal(real.frames[0], rollout.context_frames[-1])
        again = audit_rollout(rollout, real)
        assert (again.imagined_success, again.real_success) == (
            rows[name]["imagined_success"],
            rows[name]["real_success"],
        )
    summary = outputs(finished, "audit")
    assert summary["false_success"][1] == sum(r["imagined_success"] for r in rows.values())


def test_behaviour_log_probs_are_what_the_policy_computes(finished):
    from wovr_core.model_files import load_policy

    policy, _ = load_policy(Path(outputs(finished, "rl_evolved")["policy"]))
    for path in EpisodeSet(finished / "imagine" / "rollouts").paths.values():
        rollout = read_rollout(path)
        again = policy.log_prob(
            torch.from_numpy(rollout.frames[:1]),
            [rollout.task.instruction],
            torch.from_numpy(rollout.context_actions[-1:]),
            torch.from_numpy(rollout.action_tokens[:1]),
        )
        np.testing.assert_allclose(again.detach().numpy(), rollout.log_probs[:1], atol=2e-5)


def test_lineage_leads_back_to_the_demonstrations(finished):
    final = load_checkpoint(Path(outputs(finished, "rl_evolved")["policy"]))
    assert final.lineage["parent"] == outputs(finished, "rl")["version"]
    assert (
        load_checkpoint(Path(outputs(finished, "rl")["policy"])).lineage["parent"]
        == outputs(finished, "sft")["version"]
    )
    base = load_checkpoint(Path(outputs(finished, "sft")["policy"]))
    assert base.lineage["demonstrations"] == outputs(finished, "collect")["version"]


def test_the_report_is_self_contained(finished):
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert "Where the time went" in page
    assert "imagined successes" in page
    without_data = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', without_data)


def test_running_again_changes_nothing(finished, wovr_home):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.name != "report.html"}
    began = time.monotonic()
    assert here("run", "pipeline", "--recipe", "smoke", "--run", "finished") == 0
    assert time.monotonic() - began < 60
    after = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.name != "report.html"}
    assert before == after


@pytest.mark.fault
def test_killed_again_and_again_it_ends_the_same(finished, wovr_home):
    """kill -9 in the middle of stages; the same command goes on, and every artefact is bit-identical."""
    run = wovr_home / "runs" / "killed"
    for stage in ("collect", "world_model", "rl", "audit"):
        process = wovr(
            "run", "pipeline", "--recipe", "smoke", "--run", "killed",
            home=wovr_home, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 300
        while not (run / stage / "config.json").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    pipeline(wovr_home, "killed")
    assert versions(run) == versions(finished)


@pytest.mark.fault
def test_a_corrupt_episode_is_named_and_nothing_is_lost(finished, tmp_path, capsys):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished, run)
    record = json.loads((run / "collect" / "outputs.json").read_text())
    record["outputs"]["episodes"] = str(run / "collect" / "episodes")
    (run / "collect" / "outputs.json").write_text(json.dumps(record))
    shutil.rmtree(run / "sft")
    victim = sorted((run / "collect" / "episodes").glob("*.safetensors"))[1]
    victim.write_bytes(victim.read_bytes()[:-1000])
    assert here("run", "sft", "--recipe", "smoke", "--run", str(run)) == 2
    error = capsys.readouterr().err
    assert victim.name in error.splitlines()[-1]
    assert "delete it and run the stage that wrote it again" in error.splitlines()[-1]
    assert len(list((run / "collect" / "episodes").glob("*.safetensors"))) == 6


@pytest.mark.fault
def test_a_checkpoint_that_does_not_fit_is_refused(finished, tmp_path):
    import shutil

    from wovr_core.errors import CheckpointMismatchError
    from wovr_core.model_files import load_policy, load_world_model

    policy = Path(outputs(finished, "sft")["policy"])
    with pytest.raises(CheckpointMismatchError, match="holds a policy, but a world_model is wanted"):
        load_world_model(policy)
    other = tmp_path / "policy"
    shutil.copytree(policy, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["config"]["width"] *= 2
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointMismatchError, match="does not fit the recipe"):
        load_policy(other)
