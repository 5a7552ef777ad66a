"""Roles, and the user that a request comes from. Checked where something is done, never by hiding a button."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from wovr_core.errors import WovrError


class Role(IntEnum):
    """Each may do all that the ones before it may."""

    VIEWER = 1
    """Looks at runs, rollouts, jobs and reports."""
    ANNOTATOR = 2
    """Flags spans, works through the review queue."""
    OPERATOR = 3
    """Launches, cancels and retries jobs; makes corrections; adjudicates."""
    ROBOT = 4
    """Arms a robot."""


class ForbiddenError(WovrError):
    """The user's role does not suffice."""


@dataclass(frozen=True)
class User:
    """Who a request comes from."""

    name: str
    role: Role
    witness: Callable[[User, Role, str, bool], None] | None = field(default=None, compare=False, repr=False)
    """Told whenever a role was required, for what, and whether it sufficed."""

    def may(self, role: Role) -> bool:
        return self.role >= role

    def require(self, role: Role, what: str) -> None:
        """Raises ForbiddenError, which says what was refused, unless the role suffices."""
        allowed = self.may(role)
        if self.witness:
            self.witness(self, role, what, allowed)
        if not allowed:
            mine, needed = self.role.name.lower(), role.name.lower()
            raise ForbiddenError(f"{self.name} ({mine}) may not {what}: that takes the role {needed}")


def system_user() -> str:
    """The operating system's name of whoever runs this process; "unknown" where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
