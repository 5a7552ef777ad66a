"""The process in which foreign files are parsed: `python -m wovr_core.data.formats.worker MEMORY_BYTES`.

Requests are lines of JSON on standard input, answers a length and a safetensors blob on standard output: the
parent never unpickles what comes from here. It may not write files, nor take more memory than it was given.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save

from wovr_core.data.formats import open_reader
from wovr_core.data.formats.base import Clip, EpisodeReader, ForeignFileError
from wovr_core.errors import MissingDependencyError, WovrError

LENGTH_BYTES = 8


def main(memory: int) -> None:
    """Answer until standard input ends."""
    limit(memory)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    readers: dict[str, EpisodeReader] = {}
    for line in sys.stdin.buffer:
        begin = time.process_time()
        arrays: dict[str, np.ndarray] = {}
        try:
            answer, arrays = _answer(json.loads(line), readers)
        except MissingDependencyError as error:
            answer = {"missing": str(error)}
        except WovrError as error:
            answer = {"error": _line(error)}
        except RecursionError:
            answer = {"error": "the file is nested too deeply"}
        except Exception as error:  # whatever a parser throws at a damaged file
            answer = {"error": f"the file cannot be read ({type(error).__name__}: {_line(error)[:200]})"}
        answer["cpu_seconds"] = time.process_time() - begin
        _send(out, answer, arrays)


def _line(error: Exception) -> str:
    """On one line, as errors are shown."""
    return " ".join(str(error).split())


def limit(memory: int) -> None:
    """No core files, no writing of files, at most so many bytes of address space."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _answer(request: dict[str, Any], readers: dict[str, EpisodeReader]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    name = json.dumps([request["format"], request["path"], request["options"]], sort_keys=True)
    if request["op"] == "keys":
        readers.clear()  # one source at a time: a reader may hold long lists
        readers[name] = open_reader(request["format"], Path(request["path"]), **request["options"])
        return {"keys": readers[name].keys()}, {}
    if name not in readers:
        readers[name] = open_reader(request["format"], Path(request["path"]), **request["options"])
    if request["key"] not in readers[name].keys():  # noqa: SIM118 - a reader is no mapping
        raise ForeignFileError(f"there is no {request['key']!r}")
    return pack(readers[name].read(request["key"]))


def pack(clip: Clip) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `sandbox.unpack` turns into the clip again."""
    described = {
        name: getattr(clip, name)
        for name in ("key", "instruction", "suite", "task", "success", "fps", "file")
    } | {"info": dict(clip.info), "conventions": asdict(clip.conventions)}  # fmt: skip
    arrays = {"frames": clip.frames, "actions": clip.actions}
    arrays |= {f"stream.{name}": stream for name, stream in clip.streams.items()}
    return {"clip": described}, {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _send(out: BinaryIO, answer: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    blob = save(arrays, metadata={"answer": json.dumps(answer)})
    out.write(len(blob).to_bytes(LENGTH_BYTES, "little"))
    out.write(blob)
    out.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
