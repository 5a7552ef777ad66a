"""A stage's folder: config.json, metrics.jsonl, outputs.json, and its artefacts.

The configuration and the versions of the inputs are written first; a folder that was made from others is
refused. outputs.json is written last: a folder that has one is finished and its stage is not run again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import wovr_core
from wovr_core.config import to_dict
from wovr_core.errors import CorruptFileError, Interrupted, RunFolderError
from wovr_core.files import explain_disk_errors, read_json, write_bytes, write_json
from wovr_core.interrupts import stop_requested

SCHEMA = 1
OUTPUTS = "outputs.json"
METRICS = "metrics.jsonl"
_TITLES = {
    "collect": "demonstrations",
    "collect_policy": "the policy's episodes",
    "collect_long": "long episodes",
    "train_policy_sft": "imitation",
    "train_policy_rl": "practice in imagination",
    "train_policy_online": "practice in the simulator",
    "train_world_model": "world model",
    "train_reward": "success classifier",
    "train_rlinf_reward": "RLinf's reward model",
    "train_probe": "position probe",
    "refine_world_model": "refinement",
    "imagine": "imagined groups",
    "evaluate": "evaluation",
    "measure_world_model": "measuring the world model",
    "score_hallucination": "scoring rollouts",
}
"""Of stages whose own name is a module's rather than a person's."""

OnMetrics = Callable[[str, int, Mapping[str, float]], None]
"""Called with (stage, step, metrics) as they come; the metrics are on disk already."""

Outputs = TypeVar("Outputs")


def ignore_metrics(stage: str, step: int, metrics: Mapping[str, float]) -> None:
    """For callers that read metrics.jsonl, or nothing."""


class StageFolder:
    """Opens, or goes on with, the folder of one stage."""

    def __init__(
        self,
        path: Path,
        stage: str,
        config: Any,
        inputs: Mapping[str, str],
        on_metrics: OnMetrics = ignore_metrics,
    ) -> None:
        """inputs: name -> version of what the stage reads. Raises RunFolderError when the folder differs."""
        self.path = path
        self.stage = stage
        self._on_metrics = on_metrics
        self._started = time.monotonic()
        self.scratch: list[Path] = []
        """What only an interrupted stage needs: removed once the stage is finished."""
        record = {
            "schema": SCHEMA,
            "wovr": wovr_core.__version__,
            "stage": stage,
            "config": to_dict(config),
            "inputs": dict(inputs),
        }
        existing = path / "config.json"
        if existing.exists():
            self._check(read_json(existing), record)
            _drop_torn_line(path / METRICS)
        else:
            write_json(existing, record)
        # Time spent in earlier, interrupted attempts counts too.
        elapsed = path / "elapsed.json"
        self._spent_before = float(read_json(elapsed)["seconds"]) if elapsed.exists() else 0.0

    @property
    def title(self) -> str:
        """The stage's name for people."""
        return _TITLES.get(self.stage, self.stage.replace("_", " "))

    def _check(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        if found.get("schema") != SCHEMA:
            raise RunFolderError(
                f"{self.path} was made by wovr {found.get('wovr', '?')} with folder schema {found.get('schema')}; "
                f"this version writes schema {SCHEMA}: choose another --run"
            )
        for part in ("config", "inputs"):
            differing = _first_difference(found[part], wanted[part])
            if differing:
                key, old, new = differing
                raise RunFolderError(
                    f"{self.path} was made with {part[:-1] if part == 'inputs' else part} {key} = {old}, now it is "
                    f"{new}: choose another --run, or delete that folder to make it again"
                )

    def outputs(self, kind: type[Outputs]) -> Outputs | None:
        """What the stage returned, if it has finished.

        Raises:
            RunFolderError: it finished under a version of wovr whose stage returned something else.
            CorruptFileError: the record cannot be read.
        """
        path = self.path / OUTPUTS
        if not path.exists():
            return None
        try:
            return kind(**read_json(path)["outputs"])
        except (KeyError, TypeError) as error:
            raise RunFolderError(
                f"{path} is not what this version of the stage {self.stage} returns ({error}); "
                "delete that folder to make it again"
            ) from error

    def finish(self, outputs: Outputs) -> Outputs:
        """Record that the stage is done and what it gave. `outputs` is a flat dataclass of JSON values."""
        values = to_dict(outputs)
        write_json(self.path / OUTPUTS, {"outputs": values, "seconds": round(self.seconds(), 3)})
        for path in self.scratch:
            shutil.rmtree(path, ignore_errors=True)
        return outputs

    def seconds(self) -> float:
        """Wall time spent in this stage, over all attempts."""
        return self._spent_before + time.monotonic() - self._started

    def stop_if_asked(self, where: str = "") -> None:
        """To be called where the stage can go on from later.

        Raises:
            Interrupted: Ctrl-C was pressed; the message says `where`. The time spent so far is remembered.
        """
        if stop_requested():
            self.remember_time()
            raise Interrupted(f"stopped {self.stage}{where}; the same command goes on from there")

    def remember_time(self) -> None:
        """For the attempt that goes on after this one."""
        write_json(self.path / "elapsed.json", {"seconds": round(self.seconds(), 3)})

    def log(self, step: int, metrics: Mapping[str, float], phase: str = "") -> None:
        """Append one line to metrics.jsonl and pass it on. A stage with several loops names each by its phase."""
        line = {
            "phase": phase,
            "step": step,
            **{k: _plain(v) for k, v in metrics.items()},
            "seconds": round(self.seconds(), 3),
        }
        with explain_disk_errors(self.path), (self.path / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._on_metrics(self.stage, step, metrics)

    def drop_metrics_from(self, step: int, phase: str = "") -> None:
        """Forget the phase's lines of steps that will be run again, so that a resumed run logs each step once."""
        path = self.path / METRICS
        if path.exists():
            kept = [line for line in read_metrics(path) if line["step"] < step or line["phase"] != phase]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_bytes(path, text.encode())


def read_outputs(stage: Path) -> dict[str, Any] | None:
    """What the stage of this folder gave, as plain values; None if it has not finished.

    Raises:
        CorruptFileError: the record cannot be read.
    """
    path = stage / OUTPUTS
    if not path.is_file():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("outputs"), dict):
        raise CorruptFileError(f"{path} is no record of a stage's outputs; delete that folder to make it again")
    return dict(record["outputs"])


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl; a last line torn by a kill is passed over."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _drop_torn_line(path: Path) -> None:
    """A kill or a full disk may leave a last line without its end; what is logged next would be lost with it."""
    if path.exists():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)


def _plain(value: float) -> float | None:
    number = float(value)
    return round(number, 6) if number == number and abs(number) != float("inf") else None


def _first_difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(set(old) | set(new)):
            found = _first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
            if found:
                return found
        return None
    return None if old == new else (key, old, new)
