"""Files that are there whole or not at all: write to a temporary name, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wovr_core.errors import CorruptFileError, WovrError

_FOR_THE_USER = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST)


def wovr_home() -> Path:
    """Where caches and runs live: WOVR_HOME, or ~/.cache/wovr."""
    return Path(os.environ.get("WOVR_HOME") or Path.home() / ".cache" / "wovr")


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk, or a file where a folder is to be, into a WovrError that says where and
    what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FOR_THE_USER:
            raise
        where = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
        free_mb = shutil.disk_usage(where).free / 1e6
        raise WovrError(
            f"cannot write {path}: {error.strerror} ({free_mb:,.0f} MB free there); nothing was lost: "
            "make room or choose another place with WOVR_HOME or --run, then run the same command again"
        ) from error


def fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file written under a temporary name beside its own, and renamed once it is on disk: an interrupted write
    leaves the previous file untouched."""
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            write(Path(name))
            os.fsync(descriptor)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        fsync_directory(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """`replace_file` by these bytes."""
    replace_file(path, lambda temporary: temporary.write_bytes(data))


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises CorruptFileError naming the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CorruptFileError(f"{path} is missing") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not valid JSON: {error}") from error


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """12 hex digits of a JSON value: the version of whatever it describes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
