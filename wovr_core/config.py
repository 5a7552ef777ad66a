"""Typed, frozen configurations: to and from JSON, and changed by `--set key=value` with clear errors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import core_schema

from wovr_core import plugins
from wovr_core.errors import UnknownNameError, WovrError

Config = TypeVar("Config")
LATER = {"later": True}
"""Metadata of a field that a configuration got after runs had been made with it: None by default, and not written while
it is None. So the keys that are made of a configuration's JSON (a study's stage folders, finished rows) stay valid."""


class Pluggable:
    """Base of a configuration in whose place a plug-in's may stand: one with the field `kind`, which names it.

    `--set env.kind=NAME` puts the plug-in's defaults there; the configuration of our own has no such field, so that
    what was written before there were plug-ins reads as it did.
    """

    plugin_group: ClassVar[str]
    own_kind: ClassVar[str]
    """What to set `kind` to, to come back from a plug-in's."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        def validate(value: Any, own: Any) -> Any:
            kind = concrete(cls, value) if isinstance(value, Mapping) else cls
            if kind is not cls:
                return TypeAdapter(kind).validate_python(value)
            chosen = getattr(value, "kind", None)
            if chosen and isinstance(value, plugins.load(cls.plugin_group, chosen, plugins.ConfiguredPlugin).config):
                return value
            return own({k: v for k, v in value.items() if k != "kind"} if isinstance(value, Mapping) else value)

        return core_schema.no_info_wrap_validator_function(validate, handler(source))


def concrete(kind: Any, values: Any) -> Any:
    """The dataclass that these values are of: `kind`, or the plug-in's that they name.

    Raises:
        UnknownNameError: there is no such plug-in.
        PluginError: it cannot be used.
    """
    name = values.get("kind") if isinstance(values, Mapping) else None
    if name is None or not (isinstance(kind, type) and issubclass(kind, Pluggable)) or name == kind.own_kind:
        return kind
    plugins.find(kind.plugin_group, str(name), [kind.own_kind])
    return plugins.load(kind.plugin_group, str(name), plugins.ConfiguredPlugin).config


def to_dict(config: Any, whole: bool = False) -> dict[str, Any]:
    """JSON-ready: tuples become lists, nested dataclasses become objects.

    whole: with the fields of LATER that are None, too: what to show to people, not what to make keys of.
    """
    return dict(json.loads(json.dumps(_plain(config, whole))))


def _plain(value: Any, whole: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {f.name: _plain(v, whole) for f, v in fields if whole or v is not None or f.metadata != LATER}
    if isinstance(value, Mapping):
        return {key: _plain(v, whole) for key, v in value.items()}
    return [_plain(v, whole) for v in value] if isinstance(value, list | tuple) else value


def from_dict(kind: type[Config], values: dict[str, Any], where: str) -> Config:
    """Validate plain values into the dataclass `kind`; `where` names their source in the error."""
    kind = concrete(kind, values)
    _check_keys(kind, values, where)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        wanted = first["msg"].lower().replace("a valid tuple", "a list, such as [0,1]")  # as it is written for --set
        raise WovrError(f"{where}: {key} = {first.get('input')!r}: {wanted}") from error


def _check_keys(kind: Any, values: dict[str, Any], where: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = _hints(kind)
    for name, value in values.items():
        if name not in fields:
            if name == "kind" and issubclass(kind, Pluggable):
                continue
            raise UnknownNameError(f"key in {where}:", name, fields)
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            _check_keys(concrete(hints[name], value), value, f"{where}.{name}")


def _hints(kind: Any) -> dict[str, Any]:
    """Types of the fields; a group that may be absent (`Group | None`) counts as the group."""
    from types import NoneType
    from typing import get_args, get_type_hints

    hints = get_type_hints(kind)
    for name, hint in hints.items():
        groups = [part for part in get_args(hint) if dataclasses.is_dataclass(part)]
        if len(groups) == 1 and set(get_args(hint)) == {groups[0], NoneType}:
            hints[name] = groups[0]
    return hints


def override(config: Config, assignments: Sequence[str]) -> Config:
    """A copy of `config` with "a.b=value" applied, in order.

    Values are read as JSON where they are JSON (numbers, true, [1, 2]) and as plain text otherwise.
    Raises UnknownNameError ("did you mean") for keys and WovrError for values of the wrong type.
    """
    values = to_dict(config)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            raise WovrError(f"--set {assignment!r} is not of the form key=value, for example --set sft.steps=500")
        _assign(type(config), values, key.strip().split("."), _parse(text.strip()), key.strip())
    return from_dict(type(config), values, "--set") if assignments else config


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _assign(kind: Any, values: dict[str, Any], path: list[str], value: Any, key: str) -> None:
    name, *rest = path
    if name not in {field.name for field in dataclasses.fields(kind)}:
        prefix = key[: key.rindex(".") + 1] if "." in key and not rest else ""
        names = [prefix + field.name for field in dataclasses.fields(kind)]
        raise UnknownNameError("key", prefix + name if not rest else name, names)
    inner = _hints(kind)[name]
    if rest:
        if not dataclasses.is_dataclass(inner):
            raise WovrError(f"--set {key}: {name} has no parts; set {name} itself")
        if values.get(name) is None:  # a group that was absent begins with its defaults
            values[name] = {}
        if rest == ["kind"] and isinstance(inner, type) and issubclass(inner, Pluggable):
            values[name] = to_dict(concrete(inner, {"kind": value})())
            return
        _assign(concrete(inner, values[name]), values[name], rest, value, key)
    elif dataclasses.is_dataclass(inner) and not isinstance(value, dict | None):  # whole, as JSON, it may be set
        parts = ", ".join(field.name for field in dataclasses.fields(inner))
        raise WovrError(f"--set {key}: {name} is a group; set one of its keys: {parts}")
    else:
        values[name] = value
