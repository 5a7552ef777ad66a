"""What a job is: a typed, allow-listed description, and the command that carries it out.

A spec names things by ids, never by paths, and becomes an argv list, never a shell string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any

from workbench.jobs.kinds import find_kind
from wovr_core.errors import UnknownNameError, WovrError

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_VALUE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}")
_OVERRIDE = re.compile(r"[a-z][A-Za-z0-9_.]{0,127}=[^\x00-\x1f\x7f]{0,1024}")
PRIORITIES = range(-100, 101)
MAX_RETRIES = 10

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Resources:
    """What a job reserves for as long as it runs. A reservation, not a limit that is enforced."""

    cores: int = 1
    memory_mb: int = 2000
    gpus: int = 0
    custom: Mapping[str, int] = field(default_factory=dict)
    """Things that exist once or a few times, by name: {"franka_0123": 1} serialises a robot's jobs."""

    def __post_init__(self) -> None:
        for name, value, least in (("cores", self.cores, 1), ("memory_mb", self.memory_mb, 1), ("gpus", self.gpus, 0)):
            if not _whole(value) or value < least:
                raise WovrError(f"resources: {name} = {value!r}; a whole number of at least {least} is needed")
        for name, amount in self.custom.items():
            if not _RESOURCE.fullmatch(name):
                raise WovrError(f"resources: {name!r} is not a name (letters, digits, _), for example franka_0123")
            if not _whole(amount) or amount < 1:
                raise WovrError(f"resources: {name} = {amount!r}; a whole number of at least 1 is needed")


@dataclass(frozen=True)
class JobSpec:
    """One job. Building it checks its form; `check` also checks it against recipes and the allow-list.

    Raises WovrError naming the part that is malformed.
    """

    kind: str
    """A registered kind: `pipeline`, one of its stages, or what `kinds.register_kind` added."""
    run: str
    """Id of the run folder that it works in, below $WOVR_HOME/runs. Never a path."""
    recipe: str = ""
    overrides: tuple[str, ...] = ()
    """KEY=VALUE, as after --set."""
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    """What else its kind takes (see `JobKind.parameters`); strings are ids."""
    resources: Resources = field(default_factory=Resources)
    priority: int = 0
    """Higher goes first; equal ones in the order they came."""
    retries: int = 0
    """How many times it is started again by itself after it failed or was lost (bad input excepted)."""

    def __post_init__(self) -> None:
        _matches(_NAME, self.kind, "kind", "a name such as pipeline or world_model")
        _matches(RUN_ID, self.run, "run", "an id of letters, digits, _ . - (not a path) of at most 64 characters")
        if self.recipe:
            _matches(_NAME, self.recipe, "recipe", "the name of a recipe, such as demo")
        for override in self.overrides:
            _matches(_OVERRIDE, override, "override", "KEY=VALUE on one line, such as sft.steps=500")
        for name, value in self.parameters.items():
            _matches(_NAME, name, "parameter", "a name such as seed")
            if not isinstance(value, str | int | float | bool):
                raise WovrError(f"job: parameter {name} = {value!r} must be a text, a number, true or false")
            if isinstance(value, str):
                _matches(_VALUE_ID, value, f"parameter {name}", "an id (letters, digits, _ . : @ -), not a path")
        if not _whole(self.priority) or self.priority not in PRIORITIES:
            raise WovrError(f"job: priority {self.priority!r} is out of range; -100 to 100")
        if not _whole(self.retries) or not 0 <= self.retries <= MAX_RETRIES:
            raise WovrError(f"job: retries {self.retries!r} is out of range; 0 to {MAX_RETRIES}")

    def check(self) -> None:
        """Everything that can be wrong before it is started. Imports the recipes, so it takes seconds at first.

        Raises:
            UnknownNameError: no such kind, recipe or key ("did you mean").
            WovrError: a value that does not fit its key; a parameter that the kind does not take.
        """
        find_kind(self.kind).check(self)

    def argv(self) -> list[str]:
        """The command, for `subprocess` without a shell. Raises UnknownNameError for an unknown kind."""
        return list(find_kind(self.kind).argv(self))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; `from_json` is its inverse."""
        values = asdict(self)
        return {**values, "overrides": list(self.overrides), "parameters": dict(self.parameters)}

    def canonical(self) -> str:
        """One text per meaning: sorted keys, no spaces."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    def hash(self) -> str:
        """16 hex digits that name the spec."""
        return sha256(self.canonical().encode()).hexdigest()[:16]

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> JobSpec:
        """Raises UnknownNameError (a key that a spec does not have) and WovrError as building one does."""
        _known(values, JobSpec, "job")
        resources = values.get("resources", {})
        if not isinstance(resources, Mapping):
            raise WovrError(f"job: resources = {resources!r} must be an object such as {{'cores': 1}}")
        _known(resources, Resources, "resources")
        try:
            overrides = tuple(_sequence(values.get("overrides", ())))
            return JobSpec(**{**values, "overrides": overrides, "resources": Resources(**resources)})
        except (TypeError, AttributeError) as error:
            raise WovrError(f"job: malformed ({error})") from error


def _known(values: Mapping[str, Any], kind: type, where: str) -> None:
    names = [f.name for f in fields(kind)]
    for name in values:
        if name not in names:
            raise UnknownNameError(f"key of {where}", str(name), names)


def _sequence(value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise WovrError(f"job: overrides = {value!r} must be a list of KEY=VALUE")
    return value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _matches(pattern: re.Pattern[str], value: Any, what: str, right: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise WovrError(f"job: {what} {value!r} is not {right}")
