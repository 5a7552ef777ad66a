"""The examples that ship with the labelling guideline: film strips of real imagined rollouts, one a label.

They were cut out of rollouts of a run by `wovr review examples`, each chosen by what the audit measured of it and then
looked at; examples.json says where each comes from, who labelled it and why. A label of which no real example was
found says so: none is staged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from workbench.scrubber.spans import LABEL_KEYS, MAX_NOTE
from wovr_core.config import from_dict
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import read_json, write_bytes, write_json

SHIPPED = Path(__file__).parent / "examples"
INDEX = "examples.json"
SCHEMA = 1
MAX_BYTES = 30_000
"""Of one picture."""


@dataclass(frozen=True)
class ShippedExample:
    """Where a strip comes from, and what it shows."""

    label: str
    run: str
    rollout: str
    first: int
    last: int
    """Frames of the span, inclusive."""
    severity: int
    by: str
    why: str
    """What to look at, in a sentence."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What was measured: audit outcome, greatest difference within the span, models' versions."""
    real: bool = False
    """Whether the upper row shows what the simulator really did under the same actions."""
    shown: tuple[int, ...] = ()
    """Frames of the strip, from left to right."""

    @property
    def file(self) -> str:
        return f"{self.label}.webp"


@dataclass(frozen=True)
class Examples:
    """All that ship, and why the others do not."""

    folder: Path
    examples: Mapping[str, ShippedExample]
    """By label."""
    missing: Mapping[str, str]
    """Label -> why there is none."""

    @staticmethod
    @cache
    def shipped() -> Examples:
        """Those of this package. Raises CorruptFileError when they cannot be read."""
        return Examples.read(SHIPPED)

    @staticmethod
    def read(folder: Path) -> Examples:
        """Those in a folder; none where it has no index. Raises CorruptFileError."""
        path = folder / INDEX
        if not path.is_file():
            return Examples(folder, {}, {})
        found, missing = read_list(path)
        return Examples(folder, {one.label: one for one in found}, missing)

    def told(self, label: str, prefix: str) -> dict[str, Any]:
        """For a page: {picture: address or None, caption, why}."""
        one = self.examples.get(label)
        if one is None:
            return {
                "picture": None,
                "caption": "",
                "why": self.missing.get(label, "No real example has been found yet."),
            }
        rows = "above what really happened, below what was imagined; " if one.real else "as imagined; "
        caption = f"{rows}{one.run}, {one.rollout}, frames {one.first}-{one.last}, severity {one.severity}"
        return {"picture": f"{prefix}/examples/{one.file}", "caption": caption, "why": one.why}

    def picture(self, name: str) -> bytes | None:
        """A strip by its file's name, or None; the name is looked up, never made into a path."""
        one = next((one for one in self.examples.values() if one.file == name), None)
        path = None if one is None else self.folder / one.file
        return path.read_bytes() if path is not None and path.is_file() else None


def read_list(path: Path) -> tuple[list[ShippedExample], dict[str, str]]:
    """The examples that an index names, and why others are missing. Raises CorruptFileError."""
    index = read_json(path)
    try:
        if index["schema"] != SCHEMA:
            raise CorruptFileError(f"{path} has format {index['schema']}, this version reads {SCHEMA}")
        found = [from_dict(ShippedExample, value, str(path)) for value in index["examples"]]
        missing = {str(label): str(why) for label, why in index["missing"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{path} cannot be read ({error})") from error
    wrong = [label for label in (*(one.label for one in found), *missing) if label not in LABEL_KEYS]
    if wrong:
        raise CorruptFileError(f"{path}: there is no label {wrong[0]!r}")
    return found, missing


def write(folder: Path, examples: Mapping[str, tuple[ShippedExample, bytes]], missing: Mapping[str, str]) -> None:
    """Write strips (WebP) and their index. Raises WovrError for one that is too large, or a text that is too long."""
    for one, picture in examples.values():
        if len(picture) > MAX_BYTES:
            raise WovrError(f"the strip of {one.label} has {len(picture)} bytes, at most {MAX_BYTES} are wanted")
        if len(one.why) > MAX_NOTE:
            raise WovrError(f"the reason of {one.label} is longer than {MAX_NOTE} characters")
    folder.mkdir(parents=True, exist_ok=True)
    for one, picture in examples.values():
        write_bytes(folder / one.file, picture)
    told = [asdict(one) for one, _ in examples.values()]
    write_json(folder / INDEX, {"schema": SCHEMA, "examples": told, "missing": dict(missing)})
