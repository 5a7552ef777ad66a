"""What other packages add to the workbench, found through their entry points and loaded when it is asked for.

A package names what it brings in its pyproject.toml, one group of entry points for each kind of thing:

    [project.entry-points."wovr.policies"]
    linear = "my_package.policy:POLICY"

Listing plug-ins imports none of them. One that does not load is an error that names its package, raised where that
plug-in is asked for and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TypeVar

from wovr_core.errors import UnknownNameError, WovrError

POLICIES = "wovr.policies"
ENVIRONMENTS = "wovr.environments"
WORLD_MODELS = "wovr.world_models"
FORMATS = "wovr.formats"
PAGES = "wovr.pages"
RECIPES = "wovr.recipes"
GROUPS = (POLICIES, ENVIRONMENTS, WORLD_MODELS, FORMATS, PAGES, RECIPES)

T = TypeVar("T")


class PluginError(WovrError):
    """A plug-in that cannot be used. The message names the package that brings it."""


@dataclass(frozen=True)
class ConfiguredPlugin:
    """Base of plug-ins that a recipe chooses by `kind` and sets by the keys of their own configuration."""

    config: type
    """A frozen dataclass whose fields have defaults; its field `kind: Literal[NAME] = NAME` is the entry point's."""


@dataclass(frozen=True)
class PluginInfo:
    """One entry point; nothing is imported yet."""

    group: str
    name: str
    package: str
    version: str
    target: str
    """"module:attribute"."""

    def load(self, kind: type[T]) -> T:
        """Import it.

        Raises:
            PluginError: it does not import, is not a `kind`, or its configuration cannot be chosen by its name.
        """
        entry = metadata.EntryPoint(self.name, self.target, self.group)
        try:
            found = entry.load()
        except WovrError as error:
            raise PluginError(f"{self}: {error}") from error
        except Exception as error:  # whatever a foreign module does while it is imported
            raise PluginError(f"{self} does not load: {type(error).__name__}: {error}") from error
        if not isinstance(found, kind):
            raise PluginError(f"{self}: {self.target} is {type(found).__name__}, not {kind.__name__}")
        if isinstance(found, ConfiguredPlugin):
            self._check_config(found.config)
        return found

    def folder(self) -> str:
        """What has to stand on Python's path to import it."""
        return str(metadata.distribution(self.package).locate_file(""))

    def _check_config(self, config: type) -> None:
        if not dataclasses.is_dataclass(config) or not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise PluginError(f"{self}: its config must be a frozen dataclass")
        fields = dataclasses.fields(config)
        if any(f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING for f in fields):
            raise PluginError(f"{self}: every field of {config.__name__} needs a default")
        if getattr(config, "kind", None) != self.name:
            raise PluginError(f"{self}: {config.__name__} needs the field kind: Literal[{self.name!r}] = {self.name!r}")

    def __str__(self) -> str:
        return f"plug-in {self.name!r} ({self.group}) of package {self.package} {self.version}"


def installed(group: str) -> tuple[PluginInfo, ...]:
    """The plug-ins of a group, by name; those of two packages under one name are both listed."""
    return _installed()[group]


@cache
def _installed() -> dict[str, tuple[PluginInfo, ...]]:
    found: dict[str, set[PluginInfo]] = {group: set() for group in GROUPS}
    for distribution in metadata.distributions():
        for entry in distribution.entry_points:
            if entry.group in found:
                info = (entry.group, entry.name, distribution.name, distribution.version, entry.value)
                found[entry.group].add(PluginInfo(*info))  # a set: a folder may stand on the path twice
    return {group: tuple(sorted(infos, key=lambda i: (i.name, i.package))) for group, infos in found.items()}


def find(group: str, name: str, known: Iterable[str] = ()) -> PluginInfo:
    """The plug-in of that name.

    Args:
        known: names that are built in, for the error's "did you mean".

    Raises:
        UnknownNameError: there is none.
        PluginError: two packages bring one of that name.
    """
    infos = [info for info in installed(group) if info.name == name]
    if not infos:
        kind = group.removeprefix("wovr.").removesuffix("s").replace("_", " ").replace("policie", "policy")
        raise UnknownNameError(kind, name, {*known, *(info.name for info in installed(group))})
    if len({info.package for info in infos}) > 1:
        packages = " and ".join(info.package for info in infos)
        raise PluginError(f"{packages} both bring {name!r} ({group}); uninstall one of them")
    return infos[0]


@cache
def load(group: str, name: str, kind: type[T]) -> T:
    """Find and import. Raises as `find` and `PluginInfo.load` do."""
    return find(group, name).load(kind)
