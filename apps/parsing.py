"""argparse with errors of ours: one line, "did you mean" for mistyped commands and options, exit code 2."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any, NoReturn

from wovr_core.errors import UnknownNameError

EXIT_USER = 2


def add_assignments(parser: Any, what: str = "change a key of the recipe", option: str = "--set") -> None:
    """`--set KEY=VALUE`, as often as wanted: `arguments.assignments`, for `wovr_core.config.override`."""
    parser.add_argument(
        option, dest="assignments", action="append", default=[], metavar="KEY=VALUE", help=f"{what}; may be repeated"
    )


class Parser(argparse.ArgumentParser):
    """A parser of `wovr` or of one of its commands; what a user mistyped is held against what there is."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(EXIT_USER)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        """As argparse's, but nothing unknown is left over: each command answers for its own options."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            first = unknown[0].split("=")[0]
            if not first.startswith("-"):
                self.error(f"unexpected argument {first!r}")
            self.error(str(UnknownNameError("option", first, self._long_options())))
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """argparse asks here whether a value is among the choices; its own answer lists them all, and guesses none."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        kind = "/".join(action.option_strings) or str(action.metavar or action.dest).lower()
        if isinstance(action, argparse._SubParsersAction):
            kind, options = "command", {name[2:]: name for name in self._long_options()}
            [meant] = difflib.get_close_matches(str(value), [*known, *options], n=1, cutoff=0.5) or [""]
            if meant in options:  # a bare "version"
                asked = f"unknown command {value!r}; did you mean '{self.prog} {options[meant]}'?"
                raise argparse.ArgumentError(None, asked)
        raise argparse.ArgumentError(None, str(UnknownNameError(kind, str(value), known)))

    def _long_options(self) -> list[str]:
        return [name for action in self._actions if action.help != argparse.SUPPRESS
                for name in action.option_strings if name.startswith("--")]  # fmt: skip
