"""wandb in its offline mode: the files it leaves say what metrics.jsonl says."""

import contextlib
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.tracking import wandb_log
from workbench.tracking.sync import Sync, SyncConfig
from workbench.tracking.wandb_sink import WandbSink
from wovr_core.stages.folder import StageFolder


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")


def send(run, clips=1):
    with Sync(run, WandbSink(run), SyncConfig(clips=clips)) as sync:
        return sync.step()


def stage_records(folder: Path) -> dict[str, list]:
    """stage (wandb's job type) -> the protocol records of all its files, oldest first."""
    found: dict[str, list] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda p: p.stat().st_mtime_ns):
        records = list(wandb_log.records(file))
        job = next(r.run.job_type for r in records if r.WhichOneof("record_type") == "run")
        found.setdefault(job, []).extend(records)
    return found


def rows(records: list) -> list[dict]:
    return [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in r.history.item}
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]


def as_logged(row: dict, line: dict) -> dict:
    """A wandb row with the keys and the None of metrics.jsonl."""
    prefix = f"{line['phase']}/" if line["phase"] else ""
    values = {k.removeprefix(prefix): v for k, v in row.items() if not k.startswith("_")}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()} | {
        "phase": line["phase"]
    }


def test_the_numbers_are_those_of_the_files(tracked_run, logged):
    send(tracked_run)
    found = stage_records(tracked_run / "tracking")
    lines = logged(tracked_run)
    assert found.keys() == lines.keys()
    for stage, records in found.items():
        sent = rows(records)
        assert [row["_step"] for row in sent] == list(range(len(sent)))
        assert [as_logged(row, line) for row, line in zip(sent, lines[stage], strict=False)] == lines[stage]
        (run,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
        assert (run.project, run.run_group, run.display_name) == ("wovr", "study", f"study/{stage}")
        config = {u.key: json.loads(u.value_json) for u in run.config.update}
        assert config["steps"] == 5
        assert config["inputs"] == json.loads((tracked_run / stage / "config.json").read_text())["inputs"]


def test_clips_tables_and_lineage(tracked_run):
    send(tracked_run)
    found = stage_records(tracked_run / "tracking")
    (file,) = (tracked_run / "tracking").glob("wandb/offline-run-*/files/media/table/tables/audit_*.json")
    table = json.loads(file.read_text())
    assert table["columns"][:2] == ["rollout", "task"]
    assert [row[5] for row in table["data"]] == ["false_success", "true_success", "true_failure"]
    gifs = list((tracked_run / "tracking").glob("wandb/offline-run-*/files/media/videos/clips/r-false*.gif"))
    assert gifs
    assert all(gif.read_bytes().startswith(b"GIF89a") for gif in gifs)
    artifacts = {
        stage: {
            (r.artifact.name.split("-")[0], "in" if r.artifact.use_after_commit else "out", r.artifact.digest)
            for r in records
            if r.WhichOneof("record_type") == "artifact" and r.artifact.type != "run_table"
        }
        for stage, records in found.items()
    }
    (policy,) = [digest for kind, _, digest in artifacts["sft"] if kind == "policy"]
    assert ("policy", "in", policy) in artifacts["evaluate"]  # the same content: wandb joins maker and user
    assert {(kind, way) for kind, way, _ in artifacts["imagine"]} == {
        ("policy", "in"),
        ("world_model", "in"),
        ("rollouts", "out"),
    }


def test_a_later_sync_goes_on_in_the_same_wandb_run(tmp_path, begin_run, make_episode):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Config:
        steps: int = 9

    run = begin_run(tmp_path / "live")
    folder = StageFolder(run / "rl", "train_policy_rl", Config(), {})
    for half in (range(1, 4), range(4, 8)):
        for step in half:
            folder.log(step, {"loss": 1 / step}, "training")
        send(run)
    send(run)
    files = list((run / "tracking").glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert len({f.name for f in files}) == 1  # one run id
    sent = rows(stage_records(run / "tracking")["rl"])
    assert [(row["_step"], row["training/step"]) for row in sent] == [(s - 1, s) for s in range(1, 8)]


def test_project_folder_and_mode_come_from_the_environment(tracked_run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("WANDB_PROJECT", "grasping")
    (tmp_path / "logs").mkdir()
    send(tracked_run, clips=0)
    assert not (tracked_run / "tracking" / "wandb").exists()
    records = [r for rs in stage_records(tmp_path / "logs").values() for r in rs]
    assert {r.run.project for r in records if r.WhichOneof("record_type") == "run"} == {"grasping"}


@pytest.mark.fault
def test_killed_while_sending_nothing_is_sent_twice(tmp_path, begin_run):
    """kill -9 of the sender while a stage goes on; the next one closes the gap."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Config:
        steps: int = 9

    run = begin_run(tmp_path / "cut")
    folder = StageFolder(run / "rl", "train_policy_rl", Config(), {})
    for step in range(400):
        folder.log(step, {"loss": step / 7}, "training")
    command = [sys.executable, "-m", "apps.cli", "track", str(run), "--to", "wandb", "--follow", "--interval", "0.2"]
    environment = os.environ | {"WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "0.05"}
    sender = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while _rows_on_disk(run) < 50 and time.monotonic() < deadline:
        time.sleep(0.02)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    _await_quiet(run)
    assert 50 <= _rows_on_disk(run) <= 400
    for step in range(400, 450):
        folder.log(step, {"loss": step / 7}, "training")
    send(run)
    sent = rows(stage_records(run / "tracking")["rl"])
    assert [row["_step"] for row in sent] == list(range(450))
    assert [row["training/loss"] for row in sent] == [round(step / 7, 6) for step in range(450)]


def _rows_on_disk(run: Path) -> int:
    return sum(len(wandb_log.history(f)) for f in run.glob("tracking/wandb/offline-run-*/run-*.wandb"))


def _await_quiet(run: Path) -> None:
    """wandb's own process outlives the sender for a moment and writes what it was given."""
    last, since = "", time.monotonic()
    while time.monotonic() - since < 1.0:
        found = hashlib.sha256()
        for file in run.glob("tracking/wandb/offline-run-*/run-*.wandb"):
            with contextlib.suppress(FileNotFoundError):
                found.update(file.read_bytes())
        if found.hexdigest() != last:
            last, since = found.hexdigest(), time.monotonic()
        time.sleep(0.1)


@pytest.mark.fault
def test_a_log_cut_anywhere_gives_its_whole_records(tracked_run):
    send(tracked_run, clips=0)
    file = max((tracked_run / "tracking").glob("wandb/offline-run-*/run-*.wandb"), key=lambda p: p.stat().st_size)
    data, whole = file.read_bytes(), wandb_log.history(file)
    counts = []
    for cut in range(0, len(data), 97):
        file.write_bytes(data[:cut])
        found = wandb_log.history(file)
        assert found == whole[: len(found)]
        counts.append(len(found))
    assert counts == sorted(counts)
