"""Named filters of the gallery, each user's own, in one small JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.catalogue.query import Query, parse_query
from workbench.server.private_files import locked, write_private_json
from wovr_core.errors import CorruptFileError, UnknownNameError, WovrError
from wovr_core.files import read_json, wovr_home

LONGEST = 60
"""Characters of a name."""
MOST = 100
"""Filters of one user."""


class SavedFilterError(WovrError):
    """A filter that cannot be kept as asked."""


class SavedFilters:
    """The file of all users' filters. Safe for several processes; the last to write a name keeps it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or wovr_home() / "saved_filters.json"

    def of(self, user: str) -> list[dict[str, Any]]:
        """[{name, query}] of this user, by name. Raises CorruptFileError."""
        own = self._read().get(user, {})
        return [{"name": name, "query": own[name]} for name in sorted(own, key=str.casefold)]

    def save(self, user: str, name: object, query: object) -> None:
        """Keeps what the gallery shows under a name, in place of one that was there. Raises WovrError."""
        name, wanted = _name(name), _kept(parse_query(query))
        with locked(self.path):
            everything = self._read()
            own = everything.setdefault(user, {})
            if name not in own and len(own) >= MOST:
                raise SavedFilterError(f"there are {MOST} saved filters already; delete one first")
            own[name] = wanted
            write_private_json(self.path, everything)

    def rename(self, user: str, name: object, to: object) -> None:
        """Raises UnknownNameError, and SavedFilterError where the new name is taken or none."""
        new = _name(to)
        with locked(self.path):
            everything = self._read()
            own = everything.get(user, {})
            old = _known(own, name)
            if new in own and new != old:
                raise SavedFilterError(f"there is a saved filter {new!r} already; choose another name")
            own[new] = own.pop(old)
            write_private_json(self.path, everything)

    def delete(self, user: str, name: object) -> None:
        """Raises UnknownNameError."""
        with locked(self.path):
            everything = self._read()
            own = everything.get(user, {})
            del own[_known(own, name)]
            write_private_json(self.path, everything)

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        value = read_json(self.path)
        if not isinstance(value, dict) or not all(isinstance(own, dict) for own in value.values()):
            raise CorruptFileError(f"{self.path} holds no saved filters; move it away, and save them anew")
        return value


def _name(value: object) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(name) <= LONGEST or not name.isprintable():
        raise SavedFilterError(f"a filter's name has 1 to {LONGEST} characters, all of them visible")
    return name


def _known(own: Mapping[str, Any], name: object) -> str:
    if not isinstance(name, str) or name not in own:
        raise UnknownNameError("saved filter", str(name)[:LONGEST], own)
    return name


def _kept(query: Query) -> dict[str, Any]:
    filters = {key: sorted(values) for key, values in query.filters.items()}
    return {"filters": filters, "text": query.text, "flagged": query.flagged, "order": query.order}
