"""Stages in folders named by what they are made of, so that whatever two arms share is made once.

A stage's folder is `name-<12 hex>`: a digest of its configuration and of its inputs, whose paths carry the digests of
the stages before. A changed recipe thus makes only what it changes anew, and nothing is ever mixed up. Studies may run
side by side, arm beside arm: who needs a stage that another process is making waits for it.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from wovr_core.config import to_dict
from wovr_core.errors import Interrupted, WovrError
from wovr_core.files import fingerprint, read_json
from wovr_core.interrupts import stop_requested
from wovr_core.run_folder import Run
from wovr_core.stages.folder import OnMetrics

logger = logging.getLogger("wovr.reproduce")
Outputs = TypeVar("Outputs")
POLL_SECONDS = 0.5
"""How often to see whether another process has finished a stage."""


class OutOfTime(WovrError):
    """The time that was given is spent; raised between two stages."""


class StageStore:
    """Runs stages of one suite, each once.

    Args:
        run: an open run folder.
        deadline: of `time.monotonic()`, after which no further stage begins; None for no limit.
        on_stage: told the folder's name of each stage that is about to run.
    """

    def __init__(
        self, run: Run, deadline: float | None = None, on_stage: Callable[[str], None] = lambda name: None
    ) -> None:
        self.run = run
        self.deadline = deadline
        self.on_stage = on_stage
        self.seconds: dict[str, float] = {}
        """Wall time of each stage that was asked for, whenever it ran."""

    def stage(
        self, name: str, function: Callable[[Any, Any, Path, OnMetrics], Outputs], config: Any, inputs: Any
    ) -> Outputs:
        """The stage's outputs: from its folder, or by running it.

        Raises:
            OutOfTime: before it has begun, also while another process makes it.
            Interrupted: Ctrl-C was pressed.
        """
        key = fingerprint([to_dict(config), plain(inputs, self.run.path)])
        folder = f"{name}-{key}"
        record = self.run.path / folder / "outputs.json"
        with self._alone(folder):
            if not record.exists():
                if self.deadline is not None and time.monotonic() > self.deadline:
                    raise OutOfTime(f"the time is spent; {folder} is next")
                self.on_stage(folder)
            outputs = self.run.stage(folder, function, config, inputs)
        self.seconds[folder] = float(read_json(record)["seconds"])
        return outputs

    @contextmanager
    def _alone(self, folder: str) -> Iterator[None]:
        """No other process makes this stage meanwhile; the kernel ends the lock with its holder."""
        locks = self.run.path / ".locks"
        locks.mkdir(exist_ok=True)
        descriptor = os.open(locks / folder, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            if not _locked(descriptor):
                logger.info("%s is being made by another process: waiting for it", folder)
                while not _locked(descriptor):
                    self._wait(folder)
            yield
        finally:
            os.close(descriptor)

    def _wait(self, folder: str) -> None:
        """A blocking lock would hear neither Ctrl-C nor the deadline, for as long as the other process takes."""
        if stop_requested():
            raise Interrupted(f"stopped waiting for {folder}; the same command goes on from there")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime(f"the time is spent; another process is making {folder}")
        time.sleep(POLL_SECONDS)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def plain(value: Any, root: Path) -> Any:
    """JSON of a stage's inputs: paths below `root` relative to it; process pools, on which results do not
    depend, and None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: plain(v, root) for name, v in fields.items() if name != "pool" and v is not None}
    if isinstance(value, dict):
        return {str(k): plain(v, root) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v, root) for v in value]
    if isinstance(value, Path | str):
        return str(value).replace(f"{root}/", "")
    return value
