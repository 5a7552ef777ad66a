"""What the documentation tells people to type, taken out of its files and held against what there is."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apps.cli import build_parser
from wovr_core.errors import WovrError

ROOT = Path(__file__).parent.parent.parent
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"(?<!`)`((?:wovr|make) [a-z][^`]*)`")
OTHERS = {"source", "openssl", "conda", "pip", "jupyter", "franky-sim", "apt-get", "git", "cd", "sudo", "export"}
"""Programs that are not ours; the files that they are handed are looked for where they can be."""


@dataclass(frozen=True)
class Command:
    """One simple command of a shell block."""

    where: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return shlex.join(self.words)


def documents() -> list[Path]:
    """README and the pages of the site that people write."""
    return [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "generated" not in p.parts)]


def other_texts() -> list[Path]:
    """What else tells people what to type: lessons, help, messages, pages' scripts, and pages that are generated."""
    kinds = {".py", ".js", ".html", ".txt", ".json", ".md", ".yml"}
    found = [p for folder in ("apps", "workbench", "wovr_core", "docs", "notebooks", "results", "tools")
             for p in sorted((ROOT / folder).rglob("*")) if p.suffix in kinds]  # fmt: skip
    built = {"generated", "_build", "_static", "node_modules", ".ipynb_checkpoints"}
    return [p for p in [*found, ROOT / "environment.yml"] if p not in documents() and not built & set(p.parts)]


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages."""
    return [body for language, body in FENCE.findall(text) if language in languages]


def commands(text: str, where: str) -> Iterator[Command]:
    """The commands of all shell blocks."""
    for block in blocks(text, "bash", "sh", "shell", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.commenters, lexer.whitespace_split = "#", True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set(";&|"):
                    if words:
                        yield Command(where, tuple(words))
                    words = []
                else:
                    words.append(word)


def inline(text: str, where: str) -> list[Command]:
    """The commands that stand within sentences, as `wovr x` does here; they may be shortened."""
    return [Command(where, tuple(found.split())) for found in INLINE.findall(text)]


def shortened_problem(command: Command) -> str:
    """What is wrong with a command of a sentence: it has to exist, and to have the options that are named."""
    return problem(command) if command.words[0] == "make" else known_prefix(list(command.words[1:]))


@cache
def parser() -> argparse.ArgumentParser:
    return build_parser()


def problem(command: Command) -> str:
    """What is wrong with a command; "" if nothing."""
    program, *rest = command.words
    if program == "accelerate":
        return problem(Command(command.where, ("wovr", *rest[rest.index("apps.cli") + 1 :])))
    if program == "wovr":
        return _wovr(rest)
    if program == "make":
        known = re.findall(r"^([a-z][\w-]*(?: [a-z][\w-]*)*)\s*:(?!=)", (ROOT / "Makefile").read_text(), re.M)
        targets = {target for names in known for target in names.split()}
        missing = [word for word in rest if "=" not in word and not word.startswith("-") and word not in targets]
        return f"no target {missing[0]!r} in the Makefile" if missing else ""
    if program in ("python", "python3"):
        if rest[:1] == ["-m"]:
            return "" if importlib.util.find_spec(rest[1]) else f"no module {rest[1]}"
        return "" if not rest or (ROOT / rest[0]).exists() else f"no file {rest[0]}"
    if program in ("conda", "jupyter", "pip"):
        files = [w for w in rest if "/" in w or w.endswith((".yml", ".ipynb"))]
        return next((f"no file {name}" for name in files if not (ROOT / name).exists()), "")
    return "" if program in OTHERS else f"unknown program {program!r}"


def _wovr(words: list[str]) -> str:
    if "..." in words:  # shortened: the command at least has to exist
        return known_prefix(words[: words.index("...")])
    if "--help" in words:
        return known_prefix([w for w in words if w != "--help"])
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            arguments = parser().parse_args(words)
        return _names(arguments)
    except SystemExit:
        return errors.getvalue().strip()
    except WovrError as error:
        return str(error)


def known_prefix(words: list[str]) -> str:
    """Whether the words name a command (and its verb, where it has verbs) and options of it."""
    at: argparse.ArgumentParser = parser()
    for word in words:
        choices = next((a.choices for a in at._actions if isinstance(a, argparse._SubParsersAction)), None)
        if not choices or not re.fullmatch(r"[a-z][\w-]*", word):
            break
        if word not in choices:
            return f"{at.prog} has no {word!r}"
        at = choices[word]
    options = [found[1] for word in words if (found := re.match(r"(--[a-z][a-z-]*[a-z])(?![\w-])", word))]
    unknown = [option for option in options if option not in at._option_string_actions]
    return f"{at.prog} has no option {unknown[0]}" if unknown else ""


def _names(arguments: argparse.Namespace) -> str:
    """Recipes, keys, stages, benches and kinds of job that the parser takes as any text."""
    from apps.bench import BENCHES
    from workbench.jobs.kinds import kinds
    from wovr_core import recipes
    from wovr_core.config import override
    from wovr_core.pipeline import STAGES

    named = vars(arguments)
    if arguments.command == "run" and arguments.stage not in ("list", "pipeline", *STAGES):
        return f"no stage {arguments.stage!r}"
    if arguments.command == "bench" and arguments.name not in ("list", *BENCHES):
        return f"no bench {arguments.name!r}"
    if arguments.command == "jobs" and named.get("kind") not in (None, "", *kinds()):
        return f"no kind of job {named['kind']!r}"
    recipe = named.get("recipe") or (named.get("name") if arguments.command == "recipes" else None)
    if recipe and recipe != "NAME":
        assignments = named.get("assignments") or named.get("overrides") or []
        override(recipes.get(recipe), [a for a in assignments if not a.endswith("=VALUE")])
    return ""
