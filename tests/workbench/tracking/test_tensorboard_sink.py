"""TensorBoard's own reader finds the numbers of metrics.jsonl in the event files."""

import io
import math
import sys

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apps import cli
from workbench.tracking.sync import Sync, SyncConfig
from workbench.tracking.tensorboard_sink import TensorBoardSink

KEEP_ALL = {"scalars": 0, "images": 0, "tensors": 0}


def send(run, clips=1):
    with Sync(run, TensorBoardSink(run), SyncConfig(clips=clips)) as sync:
        return sync.step()


def read(run, stage) -> EventAccumulator:
    (folder,) = (run / "tracking" / "tensorboard").glob(f"{stage}-*")
    events = EventAccumulator(str(folder), size_guidance=KEEP_ALL)
    events.Reload()
    return events


def scalars(events) -> dict[tuple[str, int], float]:
    return {(tag, e.step): e.value for tag in events.Tags()["scalars"] for e in events.Scalars(tag)}


def in_files(lines) -> dict[tuple[str, int], float]:
    found = {}
    for line in lines:
        prefix = f"{line['phase']}/" if line["phase"] else ""
        for name, value in line.items():
            if name not in ("phase", "step"):
                found[prefix + name, line["step"]] = math.nan if value is None else value
    return found


def test_the_numbers_are_those_of_the_files(tracked_run, logged):
    send(tracked_run)
    for stage, lines in logged(tracked_run).items():
        assert scalars(read(tracked_run, stage)) == pytest.approx(in_files(lines), rel=1e-6, nan_ok=True)


def test_clips_play_and_tables_read(tracked_run):
    send(tracked_run)
    events = read(tracked_run, "audit")
    (tag,) = events.Tags()["images"]
    (image,) = events.Images(tag)
    gif = Image.open(io.BytesIO(image.encoded_image_string))
    assert (gif.n_frames, gif.size) == (33, (image.width, image.height))
    assert gif.size == (2 * 2 * 16, 2 * 16)
    assert "| r-false | libero_object/0 |" in events.Tensors("tables/audit")[0].tensor_proto.string_val[0].decode()


@pytest.mark.fault
def test_torn_event_files_are_continued_and_nothing_comes_twice(tracked_run, logged):
    """The position file was never written and the event file ends anywhere, as after a power cut."""
    send(tracked_run, clips=0)
    whole = scalars(read(tracked_run, "sft"))
    (file,) = tracked_run.glob("tracking/tensorboard/sft-*/events*")
    data = file.read_bytes()
    position = tracked_run / "tracking" / "tensorboard.json"
    saved = position.read_text()
    for cut in range(0, len(data), 41):
        for path in file.parent.iterdir():
            path.unlink()
        file.write_bytes(data[:cut])
        _forget(position, saved, "sft")
        send(tracked_run, clips=0)
        events = read(tracked_run, "sft")
        assert scalars(events) == pytest.approx(whole, nan_ok=True)
        assert len(events.Scalars("training/loss")) == 3


def _forget(position, saved: str, stage: str) -> None:
    import json

    record = json.loads(saved)
    del record["stages"][stage]
    position.write_text(json.dumps(record))


def test_the_command_line_sends_and_says_so(tracked_run, capsys, logged, tmp_path):
    argv = ["track", str(tracked_run), "--to", "tensorboard", "--logdir", str(tmp_path / "tb"), "--clips", "0"]
    assert cli.main(argv) == 0
    total = sum(len(lines) for lines in logged(tracked_run).values())
    assert f"{total} new records of 5 stages sent to tensorboard" in capsys.readouterr().out
    assert cli.main(argv) == 0
    assert "0 new records of 0 stages" in capsys.readouterr().out
    assert len(list((tmp_path / "tb").iterdir())) == 5
    assert cli.main(["track", str(tmp_path / "nowhere"), "--to", "tensorboard"]) == 2
    assert "there is no run at" in capsys.readouterr().err


def test_a_missing_extra_is_named(tracked_run, capsys, monkeypatch):
    for sink, module in (("tensorboard", "tensorboard.summary.writer.event_file_writer"), ("wandb", "wandb")):
        monkeypatch.setitem(sys.modules, module, None)
        assert cli.main(["track", str(tracked_run), "--to", sink]) == 2
        assert f"{sink} is not installed; pip install 'wovr-workbench[tracking]'" in capsys.readouterr().err
