"""Foreign files are parsed in another process: what crashes or hangs there is an error here.

HDF5, parquet and video are read by large C libraries, which a prepared file may crash or take over. The worker
may use so much memory and may not write files; its answers are safetensors, which cannot carry code.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

import wovr_core
from wovr_core.data.formats import import_path
from wovr_core.data.formats.base import Clip, Conventions, ForeignFileError, check_clip
from wovr_core.errors import MissingDependencyError

_LENGTH_BYTES = 8


@dataclass(frozen=True)
class SandboxConfig:
    """What a worker may take."""

    memory: int = 6 << 30
    """Bytes of address space; libraries reserve some two GB of it without using them."""
    seconds: float = 300.0
    """For one request: listing a source, or reading an episode."""


class Sandbox:
    """A worker process, started when it is needed and again after it has died. A context manager."""

    def __init__(self, config: SandboxConfig | None = None) -> None:
        self.config = config or SandboxConfig()
        self.cpu_seconds = 0.0
        """Of the last request, as the worker measured it."""
        self.restarts = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._plugin = ""
        """The folder of the format's package, where it is a plug-in's."""

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; harmless when repeated."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def keys(self, kind: str, path: Path, options: dict[str, Any]) -> list[str]:
        """The episodes of a source. Raises ForeignFileError, or MissingDependencyError."""
        answer, _ = self._ask({"op": "keys", "format": kind, "path": str(path), "options": options})
        keys = answer.get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ForeignFileError(f"{path}: the reader answered something else than names")
        return keys

    def read(self, kind: str, path: Path, options: dict[str, Any], key: str) -> Clip:
        """One episode. Raises ForeignFileError, or MissingDependencyError."""
        request = {"op": "read", "format": kind, "path": str(path), "options": options, "key": key}
        return unpack(*self._ask(request))

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            home = str(Path(wovr_core.__file__).parent.parent)
            folders = [home, *filter(None, [self._plugin])]
            kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")}
            environment = kept | {
                "PYTHONPATH": os.pathsep.join(folders),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "ARROW_DEFAULT_MEMORY_POOL": "system",
                "HDF5_PLUGIN_PRELOAD": "::",  # a file may name filters; none is loaded from disk
            }
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-m", "wovr_core.data.formats.worker", str(self.config.memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=home,
            )
            self.restarts += 1
        return self._process

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        where, end = request.get("key") or request["path"], time.monotonic() + self.config.seconds
        plugin = import_path(request["format"])
        if plugin != self._plugin:
            self.close()
            self._plugin = plugin
        process = self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            blob = self._receive(int.from_bytes(self._receive(_LENGTH_BYTES, end), "little"), end)
            # Arrays are views of the blob; the header is JSON that is checked against its length.
            arrays, answer = load(blob), _header(blob)
            self.cpu_seconds = float(answer.get("cpu_seconds", 0.0))
        except TimeoutError:
            self.close()
            raise ForeignFileError(f"{where} took longer than {self.config.seconds:g} s to read; given up") from None
        except (EOFError, BrokenPipeError):
            code = _exit_code(process)
            self.close()
            raise ForeignFileError(
                f"{where} made its reader crash (exit code {code}): it is damaged, hostile, or needs more than "
                f"{self.config.memory >> 20} MB of memory"
            ) from None
        except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
            self.close()
            raise ForeignFileError(f"{where} made its reader answer nonsense ({str(error)[:100]})") from error
        if "missing" in answer:
            raise MissingDependencyError(str(answer["missing"]))
        if "error" in answer:
            raise ForeignFileError(str(answer["error"]))
        return answer, arrays

    def _receive(self, count: int, end: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        if count > self.config.memory:
            raise EOFError
        descriptor, data = self._process.stdout.fileno(), bytearray()
        while len(data) < count:
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError
            part = os.read(descriptor, min(1 << 20, count - len(data)))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Of a worker whose answers ended. One that was taken over may live on: it is killed, not waited for."""
    try:
        return process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _header(blob: bytes) -> dict[str, Any]:
    size = int.from_bytes(blob[:8], "little")
    answer = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"]["answer"])
    if not isinstance(answer, dict):
        raise ValueError("the answer is no object")
    return answer


def unpack(answer: dict[str, Any], arrays: dict[str, np.ndarray]) -> Clip:
    """The clip of `worker.pack`; checked again, since the worker may have been taken over."""
    try:
        described = dict(answer["clip"])
        conventions = Conventions(**described.pop("conventions"))
        streams = {name.removeprefix("stream."): a for name, a in arrays.items() if name.startswith("stream.")}
        clip = Clip(
            frames=arrays["frames"], actions=arrays["actions"], conventions=conventions, streams=streams, **described
        )
        texts = (clip.key, clip.instruction, clip.suite, clip.file, *clip.info, *clip.info.values())
        numbers = (clip.task, clip.success)
        if not all(isinstance(t, str) for t in texts) or not all(type(n) is int for n in numbers):
            raise TypeError("a text or a number is none")
        return check_clip(clip)
    except (KeyError, TypeError, AttributeError) as error:
        raise ForeignFileError(f"the reader answered something else than an episode ({error})") from error


class SandboxedReader:
    """An EpisodeReader whose files are parsed in a sandbox."""

    def __init__(self, kind: str, path: Path, options: dict[str, Any] | None = None, sandbox: Sandbox | None = None):
        """Lists the source. Raises ForeignFileError."""
        self.kind, self.path = kind, path.absolute()
        self.options = options or {}
        self.sandbox = sandbox or Sandbox()
        if not path.exists():
            raise ForeignFileError(f"there is nothing at {path}")
        self._keys = self.sandbox.keys(kind, self.path, self.options)

    def keys(self) -> list[str]:
        return list(self._keys)

    def read(self, key: str) -> Clip:
        return self.sandbox.read(self.kind, self.path, self.options, key)
