"""A launch as a form sends it: checked field by field, so that each mistake can be shown where it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.jobs.kinds import find_kind, kinds
from workbench.jobs.spec import MAX_RETRIES, PRIORITIES, RUN_ID, JobSpec, Resources
from wovr_core.errors import UnknownNameError, WovrError

DEFAULT_MEMORY_MB = 3000
"""Of a stage: the demo's peak, all processes together, is 2.7 GB."""
MAX_CHANGES = 200
_FIELDS = ("kind", "recipe", "run", "changes", "parameters", "resources", "priority", "retries")
_KEY = re.compile(r"[a-z][A-Za-z0-9_.]{0,127}")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")


class DraftError(WovrError):
    """A draft that is no job. `fields` says what is wrong with which field."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        super().__init__("; ".join(f"{name}: {text}" if name else text for name, text in self.fields.items()))

    def __reduce__(self) -> tuple[type[DraftError], tuple[dict[str, str]]]:
        return type(self), (self.fields,)


def fields_of(error: WovrError) -> dict[str, Any]:
    """{"fields": what is wrong with which}, where the error says it: for a form to show it there."""
    return {"fields": error.fields} if isinstance(error, DraftError) else {}


@dataclass
class _Reading:
    """A draft being read; errors gather by field: "run", "changes.sft.steps", "resources.cores", "" for the whole."""

    values: Mapping[str, Any]
    errors: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        if not isinstance(value, str):
            self.errors[name] = "must be a text"
            return ""
        return value.strip()

    def whole(self, name: str, value: Any, default: int, low: int, high: int | None) -> int:
        """A whole number of the form, which may arrive as text."""
        if value is None or value == "":
            return default
        try:
            if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
                raise ValueError
            number = int(value)
        except (ValueError, TypeError, OverflowError):
            self.errors[name] = f"{str(value)[:60]!r} is not a whole number"
            return default
        if number < low or (high is not None and number > high):
            upper = f" to {high}" if high is not None else " or more"
            self.errors[name] = f"{number} is out of range: {low}{upper}"
            return default
        return number


def read_draft(values: object) -> JobSpec:
    """The spec that a draft stands for, wholly checked.

    Args:
        values: {kind, recipe, run, changes: [{key, value}], parameters: {}, resources: {cores, memory_mb, gpus},
            priority, retries}; values of changes are texts as after --set, the others JSON or texts of numbers.

    Raises:
        DraftError: with everything that is wrong, by field.
    """
    if not isinstance(values, Mapping):
        raise DraftError({"": "a launch must be an object"})
    unknown = [str(name)[:60] for name in values if name not in _FIELDS]
    if unknown:
        raise DraftError({"": str(UnknownNameError("field of a launch", unknown[0], _FIELDS))})
    reading = _Reading(values)
    kind, recipe, run = (reading.text(name) for name in ("kind", "recipe", "run"))
    takes_recipe = _check_kind(reading, kind)
    _check_run(reading, run)
    config = _check_recipe(reading, recipe) if takes_recipe else None
    overrides = _read_changes(reading, config)
    resources = _read_resources(reading, config)
    priority = reading.whole("priority", values.get("priority"), 0, PRIORITIES[0], PRIORITIES[-1])
    retries = reading.whole("retries", values.get("retries"), 0, 0, MAX_RETRIES)
    parameters = values.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        reading.errors["parameters"] = "must be an object"
    if reading.errors:
        raise DraftError(reading.errors)
    try:
        spec = JobSpec(kind, run, recipe, overrides, dict(parameters), resources, priority, retries)
        spec.check()
    except WovrError as error:
        raise DraftError({"": str(error)}) from error
    return spec


def launchable() -> dict[str, str]:
    """Kinds that a recipe configures, the whole pipeline first -> what they do."""
    return {name: kind.what for name, kind in kinds().items() if kind.recipe}


def default_resources(recipe: str) -> dict[str, int]:
    """What a job of this recipe reserves where nothing else is said. Raises UnknownNameError."""
    from wovr_core import recipes

    return {"cores": cores_of(recipes.get(recipe)), "memory_mb": DEFAULT_MEMORY_MB, "gpus": 0}


def _check_kind(reading: _Reading, kind: str) -> bool:
    try:
        return find_kind(kind).recipe
    except UnknownNameError as error:
        reading.errors["kind"] = str(error)
        return False


def _check_run(reading: _Reading, run: str) -> None:
    if not run:
        reading.errors.setdefault("run", "give the run a name")
    elif not RUN_ID.fullmatch(run):
        reading.errors["run"] = "letters, digits, _ . and - only, beginning with a letter or digit, at most 64"


def _check_recipe(reading: _Reading, recipe: str) -> Any:
    from wovr_core import recipes

    try:
        return recipes.get(recipe)
    except UnknownNameError as error:
        reading.errors["recipe"] = str(error)
        return None


def _read_changes(reading: _Reading, config: Any) -> tuple[str, ...]:
    """Each change alone first, for its own message; then all of them together."""
    from wovr_core import recipes
    from wovr_core.config import override

    changes = reading.values.get("changes") or []
    if not isinstance(changes, list) or len(changes) > MAX_CHANGES:
        reading.errors["changes"] = f"must be a list of at most {MAX_CHANGES} changes"
        return ()
    found: dict[str, str] = {}
    for change in changes:
        if not isinstance(change, Mapping) or not isinstance(change.get("key"), str):
            reading.errors["changes"] = "a change must be {key, value}"
            continue
        key, value = change["key"].strip(), change.get("value", "")
        place = f"changes.{key[:128]}"
        if not _KEY.fullmatch(key):
            reading.errors[place] = "this is not an option's name"
        elif key in found:
            reading.errors[place] = "it is changed twice"
        elif not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
            reading.errors[place] = "the value must be one line of at most 1024 characters"
        elif key == "name":
            reading.errors[place] = "a recipe keeps its name"
        else:
            found[key] = value
            if config is not None:
                try:
                    override(config, [f"{key}={value}"])
                except WovrError as error:
                    reading.errors[place] = _bare(str(error), key)
    overrides = tuple(f"{key}={value}" for key, value in found.items())
    if config is not None and not reading.errors:
        try:
            recipes.check(override(config, overrides))
        except WovrError as error:
            reading.errors[_blamed(str(error), found)] = str(error)
    return overrides


def _bare(message: str, key: str) -> str:
    """Without the words of the command line: the field says already what it is about."""
    for start in (f"--set: {key} = ", f"--set {key}: ", "--set: "):
        message = message.removeprefix(start)
    return message


def _blamed(message: str, changed: Mapping[str, str]) -> str:
    """The field of the first changed key that a message about the whole recipe names, or "" for none."""
    return next((f"changes.{key}" for key in changed if key in message), "")


def _read_resources(reading: _Reading, config: Any) -> Resources:
    values = reading.values.get("resources") or {}
    if not isinstance(values, Mapping):
        reading.errors["resources"] = "must be an object such as {cores: 2}"
        return Resources()
    for name in values:
        if name not in ("cores", "memory_mb", "gpus"):
            reading.errors["resources"] = str(
                UnknownNameError("resource", str(name)[:60], ("cores", "memory_mb", "gpus"))
            )
    cores = 1 if config is None else cores_of(config)
    return Resources(
        cores=reading.whole("resources.cores", values.get("cores"), cores, 1, None),
        memory_mb=reading.whole("resources.memory_mb", values.get("memory_mb"), DEFAULT_MEMORY_MB, 1, None),
        gpus=reading.whole("resources.gpus", values.get("gpus"), 0, 0, None),
    )


def cores_of(config: Any) -> int:
    """What a recipe computes with, as far as this machine has it."""
    from workbench.jobs.queue import Capacity
    from workbench.jobs.records import jobs_folder

    return max(1, min(int(config.threads), Capacity.read(jobs_folder()).cores))
