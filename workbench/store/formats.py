"""Annotations as CSV, Label Studio JSON and JSON Lines: to text and back. What comes back is checked elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any
from xml.sax.saxutils import quoteattr

from workbench.scrubber.spans import LABELS
from wovr_core.errors import WovrError
from wovr_core.types import FPS

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n", "'")
"""A spreadsheet takes a cell that begins so for a formula (in East Asian locales with the full-width signs too), or
trims it; the quote is what we put in front."""
_LABEL_KEYS = {name: label.key for label in LABELS for name in (label.key, label.title)}


class ExchangeError(WovrError):
    """A file of annotations that cannot be read."""


@dataclass(frozen=True)
class SpanRow:
    """One annotation as it stands, with where it belongs."""

    run: str
    rollout: str
    """The record's annotation key."""
    span: str
    """Its id; empty: to be made from the row itself."""
    first: int
    last: int
    """Inclusive, from 0."""
    label: str
    severity: int
    note: str
    author: str
    time: str
    version: int
    """What it was at when it was exported; 0: new."""


COLUMNS = tuple(one.name for one in fields(SpanRow))
_NUMBERS = ("first", "last", "severity", "version")
_OPTIONAL = {"span": "", "note": "", "author": "", "time": "", "version": 0, "severity": 2}


def to_csv(rows: Iterable[SpanRow]) -> str:
    """Cells that a spreadsheet would execute begin with an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_escaped(value) if isinstance(value, str) else value for value in asdict(row).values()])
    return out.getvalue()


def from_csv(text: str) -> list[SpanRow]:
    """Columns may stand in any order; span, severity, note, author, time and version may be missing.

    Raises ExchangeError naming the line.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        missing = [name for name in COLUMNS if name not in header and name not in _OPTIONAL]
        if missing:
            raise ExchangeError(f"the CSV file lacks the columns {', '.join(missing)}; it has {', '.join(header)}")
        rows = []
        for cells in reader:
            where = f"line {reader.line_num}"
            values = {name: cells[name] for name in COLUMNS if cells.get(name) not in (None, "")}
            numbers = {name: _whole(values.pop(name), name, where) for name in _NUMBERS if name in values}
            texts = {name: _unescaped(value) for name, value in values.items()}
            rows.append(_row({**texts, **numbers}, where))
        return rows
    except csv.Error as error:
        raise ExchangeError(f"the CSV file cannot be read at line {reader.line_num}: {error}") from error


def to_label_studio(rows: Iterable[SpanRow]) -> str:
    """Tasks with timeline regions (frames from 1, as Label Studio counts), one per rollout; see `labeling_config`."""
    tasks: dict[tuple[str, str], list[SpanRow]] = {}
    for row in rows:
        tasks.setdefault((row.run, row.rollout), []).append(row)
    return json.dumps([_task(run, rollout, spans) for (run, rollout), spans in tasks.items()], indent=1)


def from_label_studio(text: str) -> list[SpanRow]:
    """Regions of all annotations of all tasks. Raises ExchangeError naming the task."""
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExchangeError(f"the Label Studio export is not JSON ({error})") from error
    if not isinstance(tasks, list):
        raise ExchangeError("a Label Studio export is a list of tasks")
    return [row for n, task in enumerate(tasks) for row in _task_rows(task, f"task {n + 1}")]


def labeling_config() -> str:
    """The labelling interface to paste into a Label Studio project."""
    labels = "\n".join(f"    <Label value={quoteattr(one.title)} alias={quoteattr(one.key)}/>" for one in LABELS)
    return (
        f'<View>\n  <Video name="video" value="$video" framerate="{FPS}"/>\n'
        f'  <TimelineLabels name="label" toName="video">\n{labels}\n  </TimelineLabels>\n'
        '  <Rating name="severity" toName="video" perRegion="true" maxRating="3"/>\n'
        '  <TextArea name="note" toName="video" perRegion="true"/>\n</View>\n'
    )


def to_json_lines(events: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """(run, event) -> one line each: the whole history, nothing lost."""
    for run, event in events:
        yield json.dumps({"run": run, **event}, ensure_ascii=False, separators=(",", ":")) + "\n"


def from_json_lines(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """(line number, run, event). A run's own annotations.jsonl, which names no run, is read too: its run is "".

    Raises ExchangeError naming the line.
    """
    events = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ExchangeError(f"line {number} is not JSON ({error})") from error
        if not isinstance(event, dict) or not isinstance(event.get("run", ""), str):
            raise ExchangeError(f"line {number} holds no event of an annotation log")
        events.append((number, event.pop("run", ""), event))
    return events


def _escaped(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _row(values: Mapping[str, Any], where: str) -> SpanRow:
    missing = [name for name in COLUMNS if name not in values and name not in _OPTIONAL]
    if missing:
        raise ExchangeError(f"{where}: there is no {missing[0]}")
    known = {**_OPTIONAL, **values}
    label = _LABEL_KEYS.get(str(known["label"]), str(known["label"]))  # what is unknown is refused with the others
    return SpanRow(**{**known, "label": label})


def _whole(text: object, name: str, where: str) -> int:
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise ExchangeError(f"{where}: {name} must be a whole number, not {text!r}")
    try:
        return int(text)
    except ValueError as error:
        raise ExchangeError(f"{where}: {name} must be a whole number, not {text[:40]!r}") from error  # type: ignore[index]


def _task(run: str, rollout: str, spans: Sequence[SpanRow]) -> dict[str, Any]:
    result: list[dict[str, Any]] = []
    for span in spans:
        to = {"id": span.span, "to_name": "video"}
        ranges = [{"start": span.first + 1, "end": span.last + 1}]
        value = {"ranges": ranges, "timelinelabels": [span.label]}
        result.append({**to, "from_name": "label", "type": "timelinelabels", "value": value})
        result.append({**to, "from_name": "severity", "type": "rating", "value": {"rating": span.severity}})
        if span.note:
            result.append({**to, "from_name": "note", "type": "textarea", "value": {"text": [span.note]}})
    # Label Studio hands a task's data back as they are; of a region's further keys that cannot be said.
    origin = {s.span: {"author": s.author, "time": s.time, "version": s.version} for s in spans}
    data = {"video": f"{run}/{rollout}.mp4", "run": run, "rollout": rollout, "spans": origin}
    return {"data": data, "annotations": [{"result": result}]}


def _task_rows(task: object, where: str) -> Iterator[SpanRow]:
    data = task.get("data") if isinstance(task, Mapping) else None
    if not isinstance(task, Mapping) or not isinstance(data, Mapping):
        raise ExchangeError(f"{where} has no data")
    if not isinstance(data.get("run"), str) or not isinstance(data.get("rollout"), str):
        raise ExchangeError(f"{where} does not say of which run and rollout it is (data.run, data.rollout)")
    origins = data.get("spans") if isinstance(data.get("spans"), Mapping) else {}
    for annotation in _list(task.get("annotations", []), f"{where}: annotations"):
        regions: dict[str, dict[str, Any]] = {}
        for part in _list(annotation.get("result", []), f"{where}: result"):
            value, region = part.get("value"), regions.setdefault(str(part.get("id")), {})
            if isinstance(value, Mapping):
                region[str(part.get("type"))] = value
        by = annotation.get("completed_by")
        for span, region in regions.items():
            if "timelinelabels" in region:
                origin = origins.get(span) if isinstance(origins, Mapping) else None
                known = dict(origin) if isinstance(origin, Mapping) else {"author": _name(by), "version": 0}
                yield _region_row(data, span, region, known, f"{where}, region {span}")


def _region_row(
    data: Mapping[str, Any], span: str, region: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> SpanRow:
    value = region["timelinelabels"]
    ranges, labels = _list(value.get("ranges"), f"{where}: ranges"), value.get("timelinelabels")
    if len(ranges) != 1 or not isinstance(labels, list) or len(labels) != 1:
        raise ExchangeError(f"{where} must have one range and one label")
    values: dict[str, Any] = {
        "run": data["run"],
        "rollout": data["rollout"],
        "span": span,
        "first": _whole(ranges[0].get("start"), "start", where) - 1,
        "last": _whole(ranges[0].get("end"), "end", where) - 1,
        "label": str(labels[0]),
        "author": str(known.get("author", "")),
        "time": str(known.get("time", "")),
        "version": _whole(known.get("version", 0), "version", where),
    }
    if "rating" in region:
        values["severity"] = _whole(region["rating"].get("rating"), "severity", where)
    text = region.get("textarea", {}).get("text", "")
    values["note"] = "\n".join(map(str, text)) if isinstance(text, list) else str(text)
    return _row(values, where)


def _name(by: object) -> str:
    if isinstance(by, Mapping):
        by = by.get("email") or by.get("id")
    return "" if by is None else str(by)


def _list(value: object, what: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise ExchangeError(f"{what} must be a list of objects")
    return value
