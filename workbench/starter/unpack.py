"""Copy the starter pack to $WOVR_HOME/runs/starter, verified by hash; files that somebody changed stay as they are."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.catalogue.catalogue import newest
from workbench.starter import DATA, PLACE, RUN
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import explain_disk_errors, read_json, wovr_home, write_bytes

log = logging.getLogger("wovr.starter")


@dataclass(frozen=True)
class Unpacked:
    """What `unpack` found or did."""

    path: Path
    written: tuple[str, ...]
    changed: tuple[str, ...]
    """Files that differ from the pack's, and were left alone."""


def demo_run(runs: Path | None = None, stages: Sequence[str] = ()) -> Path:
    """The newest demo run that has anything finished, or all of `stages`; the starter pack, unpacked, if there is none.

    Raises WovrError, saying how to make one, where this package came without its pack.
    """
    found = newest("demo", runs, stages)
    if found is not None:
        return found
    if not available():
        raise WovrError(f"there is no demo run under {runs or wovr_home() / 'runs'} yet; make one with `wovr demo`")
    return unpack(runs=runs).path


def available(data: Path = DATA) -> bool:
    """Whether this package carries its starter pack."""
    return (data / "manifest.json").is_file()


def unpack(data: Path = DATA, runs: Path | None = None) -> Unpacked:
    """Copy what is missing of the run folder; safe to repeat, and for several processes at once.

    Args:
        data: the pack.
        runs: a folder of runs; None: $WOVR_HOME/runs.

    Raises:
        CorruptFileError: a file of the pack is missing or damaged.
        WovrError: the disk is full or cannot be written to.
    """
    if not available(data):
        raise WovrError("this installation came without the starter pack; make a run of your own with `wovr demo`")
    runs = runs or wovr_home() / "runs"
    target = runs / RUN
    with explain_disk_errors(target):
        runs.mkdir(parents=True, exist_ok=True)
        with _alone(runs / f".{RUN}.lock"):
            files = {name: verified(data, name, digest) for name, digest in manifest(data)["files"].items()}
            ready = {name: render(name, content, target) for name, content in files.items()}
            if not target.exists():
                _place(ready, target)
                return Unpacked(target, tuple(ready), ())
            return _complete(ready, target)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def manifest(data: Path = DATA) -> dict[str, Any]:
    """The pack's manifest. Raises CorruptFileError."""
    found = read_json(data / "manifest.json")
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise CorruptFileError(f"{data / 'manifest.json'} is not the manifest of a starter pack; install wovr again")
    return found


def verified(data: Path, name: str, digest: str) -> bytes:
    """A file of the pack. Raises CorruptFileError unless it is there and hashes to what the manifest says."""
    path = data / "run" / name
    if path.is_symlink() or not path.resolve().is_relative_to((data / "run").resolve()):
        raise CorruptFileError(f"{data / 'manifest.json'} names {name!r}, which lies outside of the pack")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read ({error.strerror}); install wovr again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise CorruptFileError(f"{path} is damaged (its sha256 is not the manifest's); install wovr again")
    return content


def render(name: str, content: bytes, target: Path) -> bytes:
    """As it stands in the unpacked run: outputs.json files name their artefacts by absolute paths."""
    if not name.endswith("/outputs.json"):
        return content
    return content.replace(PLACE.encode(), json.dumps(str(target.absolute()))[1:-1].encode())


def _place(files: dict[str, bytes], target: Path) -> None:
    """All files at once: the run appears whole, by one rename."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{RUN}.") as temporary:
        whole = Path(temporary) / RUN
        for name, content in files.items():
            path = whole / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        shutil.copymode(target.parent, whole)
        whole.rename(target)
    log.info("unpacked the starter pack to %s", target)


def _complete(files: dict[str, bytes], target: Path) -> Unpacked:
    written, changed = [], []
    for name, content in files.items():
        path = target / name
        if not path.exists():
            write_bytes(path, content)
            written.append(name)
        elif path.read_bytes() != content:
            changed.append(name)
    if changed:
        log.info("%s: %d files were changed since they were unpacked, and stay so", target, len(changed))
    return Unpacked(target, tuple(written), tuple(changed))
