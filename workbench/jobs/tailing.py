"""Reading files that are still being written: logs by byte offset, metrics.jsonl by line."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.jobs.backend import CHUNK, LogChunk, MetricsChunk

_LONGEST_CHARACTER = 4


def read_log(path: Path, offset: int = 0, limit: int = CHUNK) -> LogChunk:
    """At most `limit` bytes from `offset` on, as text; a character that is not complete yet waits for the next call.

    A file that is not there yet is empty; one that shrank below the offset is read from its beginning.
    """
    limit = max(limit, _LONGEST_CHARACTER)
    try:
        with path.open("rb") as file:
            restarted = offset > os.fstat(file.fileno()).st_size
            offset = 0 if restarted else max(0, offset)
            file.seek(offset)
            data = file.read(limit)
    except FileNotFoundError:
        return LogChunk("", 0, restarted=offset > 0)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    unfinished = len(decoder.getstate()[0])
    return LogChunk(text, offset + len(data) - unfinished, restarted)


def last_lines(path: Path, count: int, within: int = 8192) -> list[str]:
    """The last `count` lines among the last `within` bytes."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return []
    lines = read_log(path, max(0, size - within), within).text.splitlines()
    return (lines[1:] if size > within else lines)[-count:]


def read_metrics_since(run: Path, cursor: Mapping[str, Any] | None = None) -> MetricsChunk:
    """What the run's stages added to their metrics.jsonl since `cursor` was made; only whole lines.

    A stage that resumes rewrites its file (`StageFolder.drop_metrics_from`): it is then read anew and named
    in `restarted`.
    """
    known = dict(cursor or {})
    lines: list[dict[str, Any]] = []
    restarted = []
    for path in sorted(run.glob("*/metrics.jsonl")):
        stage = path.parent.name
        inode, offset = known.get(stage, (None, 0))
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                if inode is not None and (found.st_ino != inode or found.st_size < offset):
                    restarted.append(stage)
                    offset = 0
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            continue
        whole = data.rfind(b"\n") + 1
        known[stage] = [found.st_ino, offset + whole]
        lines += _parsed(data[:whole], stage)
    return MetricsChunk(tuple(lines), known, tuple(restarted))


def _parsed(data: bytes, stage: str) -> list[dict[str, Any]]:
    lines = []
    for line in data.splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        if isinstance(values, dict):
            lines.append({"stage": stage, **values})
    return lines
