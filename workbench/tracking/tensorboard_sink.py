"""TensorBoard event files: one TensorBoard run per stage. Needs neither TensorFlow nor torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.tracking.clips import Clip
from workbench.tracking.lineage import Artifact
from workbench.tracking.records import MetricRecord
from workbench.tracking.stages import StageView
from workbench.tracking.tables import Table
from wovr_core.errors import MissingDependencyError
from wovr_core.files import explain_disk_errors

_SCALE = 2
_STRING = 7
"""DT_STRING of TensorFlow's types.proto."""


class TensorBoardSink:
    """See `sync.Sink`. Each numbered thing is one event, so that those in the files can be counted.

    Args:
        run: the run folder.
        log_dir: where the event files go; RUN/tracking/tensorboard by default.
    """

    name = "tensorboard"

    def __init__(self, run: Path, log_dir: Path | None = None) -> None:
        try:
            import tensorboard.summary.writer.event_file_writer  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "tensorboard is not installed; pip install 'wovr-workbench[tracking]'"
            ) from error
        self.log_dir = log_dir or run / "tracking" / "tensorboard"
        self._writer: Any = None
        self._stage: StageView | None = None
        self._step = 0

    def open(self, stage: StageView, stage_id: str) -> int:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self.log_dir / f"{stage.name}-{stage_id}"
        count = _count_events(folder)
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventFileWriter(str(folder))
        self._stage = stage
        return count

    def scalars(self, number: int, record: MetricRecord) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._step = max(self._step, record.step)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in record.named().items()]
        values.append(Summary.Value(tag="seconds" if not record.phase else f"{record.phase}/seconds"))
        values[-1].simple_value = record.seconds
        self._write(values, record.step, record.seconds)

    def table(self, number: int, table: Table) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.plugins.text.metadata import create_summary_metadata

        one = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=_STRING, string_val=[table.markdown().encode()], tensor_shape=one)
        tag = f"tables/{table.name}"
        meta = create_summary_metadata(tag, description="")
        self._write([Summary.Value(tag=tag, metadata=meta, tensor=tensor)], self._step)

    def clip(self, number: int, clip: Clip) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        _, height, width, _ = clip.frames.shape
        # An animated GIF in place of a PNG: the browser plays it.
        image = Summary.Image(
            height=height * _SCALE, width=width * _SCALE, colorspace=3, encoded_image_string=clip.gif(_SCALE)
        )
        self._write([Summary.Value(tag=f"clips/{clip.name}", image=image)], self._step)

    def lineage(self, inputs: list[Artifact], outputs: list[Artifact]) -> None:
        """TensorBoard knows no lineage."""

    def close(self) -> None:
        writer, self._writer, self._step = self._writer, None, 0
        if writer is not None:
            with explain_disk_errors(self.log_dir):
                writer.close()

    def _write(self, values: list[Any], step: int, seconds: float = 0.0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        assert self._stage is not None
        wall_time = self._stage.started + (seconds if seconds == seconds else 0.0)
        self._writer.add_event(Event(wall_time=wall_time, step=step, summary=Summary(value=values)))


def _count_events(folder: Path) -> int:
    """Whole events with a summary in the stage's files; what follows a torn one does not count."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    count = 0
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for raw in RawEventFileLoader(str(path)).Load():
            event = Event()
            event.ParseFromString(raw)
            count += event.HasField("summary")
    return count
