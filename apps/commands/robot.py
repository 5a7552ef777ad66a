"""`wovr robot ...`. A verb's module is one of VERBS; its `add_verbs(verbs, common)` adds its parsers."""

from __future__ import annotations

from typing import Any, Protocol

from apps.commands import robot_check, robot_evaluation


class Verbs(Protocol):
    """A module with verbs of `wovr robot`."""

    def add_verbs(self, verbs: Any, common: Any) -> None: ...


VERBS: tuple[Verbs, ...] = (robot_check, robot_evaluation)


def add_commands(commands: Any, common: Any) -> None:
    """Add `robot` and its verbs to the parsers."""
    parser = commands.add_parser("robot", parents=[common], help="run and evaluate policies on a robot")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in VERBS:
        module.add_verbs(verbs, common)
