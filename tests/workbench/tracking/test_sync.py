"""Everything is sent once: over repeats, kills, resumed stages and folders made anew."""

import json
import shutil
from dataclasses import dataclass

import pytest

from workbench.tracking.sync import Sync, SyncConfig, SyncReport, follow
from wovr_core.errors import CorruptFileError, RunFolderError, WovrError
from wovr_core.stages.folder import StageFolder


@dataclass(frozen=True)
class Config:
    steps: int = 5


class Memory:
    """A tracker that keeps what arrived, as a server would, and dies when told to."""

    name = "memory"

    def __init__(self) -> None:
        self.got: dict[str, list] = {}
        self.links: dict[str, tuple[list[str], list[str]]] = {}
        self.open_stages: list[str] = []
        self.die_after = 10**9

    def open(self, stage, stage_id):
        assert not self.open_stages, "one stage at a time"
        self.open_stages.append(f"{stage.name}/{stage_id}")
        return len(self.got.setdefault(self.open_stages[0], []))

    def _take(self, number, thing):
        if self.die_after == 0:
            raise ConnectionError("the line is cut")
        self.die_after -= 1
        held = self.got[self.open_stages[0]]
        assert number == len(held), "numbers follow each other"
        held.append(thing)

    scalars = table = clip = _take

    def lineage(self, inputs, outputs):
        self.links[self.open_stages[0].split("/")[0]] = ([a.name for a in inputs], [a.name for a in outputs])

    def close(self):
        self.open_stages.clear()

    def records(self, stage: str) -> list:
        return [
            (t.phase, t.step) for key, held in self.got.items() if key.split("/")[0] == stage for t in held
            if hasattr(t, "phase")
        ]  # fmt: skip


def send(run, sink) -> SyncReport:
    with Sync(run, sink, SyncConfig(clips=2)) as sync:
        return sync.step()


def wanted(logged, run) -> dict:
    return {stage: [(line["phase"], line["step"]) for line in lines] for stage, lines in logged(run).items()}


def test_a_second_sync_sends_nothing(tracked_run, logged):
    sink = Memory()
    report = send(tracked_run, sink)
    assert report.records == sum(len(lines) for lines in logged(tracked_run).values())
    assert {stage: sink.records(stage) for stage in wanted(logged, tracked_run)} == wanted(logged, tracked_run)
    before = {key: list(held) for key, held in sink.got.items()}
    assert send(tracked_run, sink) == SyncReport()
    assert sink.got == before


@pytest.mark.fault
def test_cut_anywhere_it_ends_the_same(tracked_run, logged):
    whole = Memory()
    send(tracked_run, whole)
    total = sum(len(held) for held in whole.got.values())
    names = {key.split("/")[0]: [str(t) for t in held] for key, held in whole.got.items()}
    for cut in range(total):
        shutil.rmtree(tracked_run / "tracking")
        sink = Memory()
        sink.die_after = cut
        with pytest.raises(ConnectionError):
            send(tracked_run, sink)
        sink.open_stages.clear()
        sink.die_after = 10**9
        send(tracked_run, sink)
        assert {key.split("/")[0]: [str(t) for t in held] for key, held in sink.got.items()} == names


def test_while_a_stage_goes_on_and_is_resumed(tmp_path, begin_run):
    run, sink = begin_run(tmp_path / "live"), Memory()
    folder = StageFolder(run / "rl", "train_policy_rl", Config(), {"seed": "0"})
    with Sync(run, sink) as sync:
        for step in range(1, 5):
            folder.log(step, {"loss": 1.0}, "training")
            sync.step()
            if step == 2:  # the trainer is killed; its last step comes again
                folder.drop_metrics_from(2, "training")
                folder.log(2, {"loss": 1.0}, "training")
    folder.log(5, {"loss": 1.0}, "training")
    send(run, sink)
    assert sink.records("rl") == [("training", step) for step in range(1, 6)]


def test_a_stage_made_anew_from_something_else_is_another_one(tmp_path, begin_run):
    run, sink = begin_run(tmp_path / "again"), Memory()
    StageFolder(run / "rl", "train_policy_rl", Config(), {"policy": "a"}).log(1, {"loss": 1.0})
    send(run, sink)
    shutil.rmtree(run / "rl")
    StageFolder(run / "rl", "train_policy_rl", Config(), {"policy": "b"}).log(1, {"loss": 2.0})
    send(run, sink)
    assert len(sink.got) == 2
    assert [held[0].values["loss"] for held in sink.got.values()] == [1.0, 2.0]


def test_corrupt_lines_do_not_stop_it(tracked_run):
    path = tracked_run / "sft" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{", *lines[1:]]) + "\n")
    sink = Memory()
    report = send(tracked_run, sink)
    assert [str(c).endswith("line 2: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 "
                            "(char 1))") for c in report.corrupt] == [True]  # fmt: skip
    assert sink.records("sft") == [("training", 25), ("training", 50), ("training", 75), ("held_out", 75)]


def test_what_was_made_from_what(tracked_run):
    sink = Memory()
    send(tracked_run, sink)
    demos, rollouts = (
        json.loads((tracked_run / stage / "outputs.json").read_text())["outputs"]["version"]
        for stage in ("collect", "imagine")
    )
    assert sink.links == {
        "collect": ([], [f"episodes-{demos}"]),
        "sft": ([f"episodes-{demos}"], ["policy-p1"]),
        "evaluate": (["policy-p1"], []),
        "imagine": (["policy-p1", "world_model-w9"], [f"rollouts-{rollouts}"]),
        "audit": ([f"rollouts-{rollouts}"], []),
    }


def test_two_at_once_are_refused(tracked_run):
    with Sync(tracked_run, Memory()), pytest.raises(RunFolderError, match=r"another wovr sends .* to memory already"):
        send(tracked_run, Memory())


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(WovrError, match="there is no run at"):
        send(tmp_path, Memory())
    assert not list(tmp_path.iterdir())


@pytest.mark.fault
@pytest.mark.parametrize(("name", "text"), [("config.json", '{"config": {}}'), ("outputs.json", "{}")])
def test_a_stage_that_lacks_what_every_stage_has_is_named(tracked_run, name, text):
    (tracked_run / "sft" / name).write_text(text)
    with pytest.raises(CorruptFileError, match="sft holds no stage"):
        send(tracked_run, Memory())


@pytest.mark.parametrize("text", ["{", '{"schema": 1}', '{"schema": 9, "run_id": "", "stages": {}}', "[]",
                                  '{"schema": 1, "run_id": "a", "stages": {"rl": {"sent": {"": 3}}}}'])  # fmt: skip
def test_a_damaged_position_file_is_named(tracked_run, text):
    send(tracked_run, Memory())
    (tracked_run / "tracking" / "memory.json").write_text(text)
    with pytest.raises(CorruptFileError, match=r"memory\.json"):
        send(tracked_run, Memory())


def test_following_ends_with_the_last_stage(tmp_path, begin_run):
    run, sink, reports = begin_run(tmp_path / "live"), Memory(), []
    folder = StageFolder(run / "rl", "train_policy_rl", Config(), {})
    turns = iter(range(1, 10))

    def work(_seconds: float) -> None:
        step = next(turns)
        folder.log(step, {"loss": 1 / step})
        if step == 4:
            folder.finish(Config())

    with Sync(run, sink) as sync:
        follow(sync, reports.append, until="rl", sleep=work)
    assert sink.records("rl") == [("", step) for step in range(1, 5)]
    assert sum(r.records for r in reports) == 4


def test_following_ends_when_patience_does(tmp_path, begin_run):
    run, naps = begin_run(tmp_path / "dead"), []
    StageFolder(run / "rl", "train_policy_rl", Config(), {}).log(1, {"loss": 1.0})
    with Sync(run, Memory()) as sync:
        follow(sync, lambda _: None, until="evaluate", interval=2.0, patience=6.0, sleep=naps.append)
    assert len(naps) == 4
