"""Groups of commands of `wovr`, one module each: `add_commands(commands, common)` adds its parsers.

`commands` is what argparse's `add_subparsers` returned, `common` the parent parser with --verbose. A module
imports at its top only what parsing needs; its functions import what they run.
"""

from __future__ import annotations

from typing import Any, Protocol

from apps.commands import (
    autopilot,
    correct,
    formats,
    jobs,
    plugins,
    policy,
    refine,
    renderers,
    reproduce,
    review,
    robot,
    store,
    tracking,
    users,
    world_model,
)


class Group(Protocol):
    """A module of this package."""

    def add_commands(self, commands: Any, common: Any) -> None: ...


GROUPS: tuple[Group, ...] = (
    tracking,
    reproduce,
    jobs,
    store,
    renderers,
    correct,
    refine,
    autopilot,
    review,
    users,
    formats,
    robot,
    world_model,
    policy,
    plugins,
)
