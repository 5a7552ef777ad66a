"""Pages of the site that say what the code says: made before each build from configurations, parsers and checks."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
API = {
    "wovr_core": ("types", "config", "plugins", "recipes", "pipeline", "run_folder", "execution", "imagination",
                  "checkpoints", "model_files", "seeding", "statistics", "instructions", "adapters", "errors", "files"),
    "wovr_core.data": None, "wovr_core.data.formats": None, "wovr_core.envs": None, "wovr_core.policy": None,
    "wovr_core.policy.openvla_oft": None, "wovr_core.world_model": None, "wovr_core.world_model.measures": None,
    "wovr_core.reward": None, "wovr_core.rl": None, "wovr_core.audit": None, "wovr_core.coevolution": None,
    "wovr_core.stages": None, "wovr_core.robots": None, "wovr_core.robots.safety": None,
    "wovr_core.robots.evaluation": None, "workbench": None, "workbench.store": None, "workbench.catalogue": None,
    "workbench.scrubber": None, "workbench.review": None, "workbench.evidence": None, "workbench.forks": None,
    "workbench.jobs": None, "workbench.launching": None, "workbench.tracking": None, "workbench.reproduce": None,
    "workbench.server": None, "workbench.widgets": None,
}  # fmt: skip
"""Package -> its modules on the page; None: all of them."""
RUNS = {"__main__", "worker", "child", "supervisor", "ray_worker", "pool_worker", "make_examples"}
"""Modules that are started as processes, and are nobody's interface."""


def write_all(folder: Path) -> None:
    """Write every generated page into the folder, replacing those of an earlier build."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "api").mkdir(parents=True)
    pages = {
        "recipes.md": recipes_page(),
        "options.md": options_page(),
        "cli.md": cli_page(),
        "tensors.md": tensors_page(),
        "results.md": results_page(ROOT / "results"),
        "troubleshooting.md": troubleshooting_page(),
        "notebooks.md": notebooks_page(ROOT / "notebooks"),
        "api/index.md": api_index(),
    }
    for package in API:
        pages[f"api/{package}.md"] = api_page(package)
    for name, text in pages.items():
        (folder / name).write_text(text.rstrip() + "\n")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell is escaped, a line break becomes a blank."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        lines.append("| " + " | ".join(" ".join(str(c).split()).replace("|", "\\|") or " " for c in row) + " |")
    return "\n".join(lines)


def code(text: str) -> str:
    """As inline code; empty stays empty."""
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Prose of a help text, with what Markdown would take for markup escaped outside code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_<>\[\]$])", r"\\\1", p) for p in parts)


# Recipes and options


def recipes_page() -> str:
    """What recipes there are, and what each changes of the defaults."""
    from workbench.launching.options import options
    from wovr_core import recipes

    parts = ["# Recipes", "A recipe is a function that returns a whole frozen configuration. `wovr recipes NAME` "
             "prints one with all its keys; `--set KEY=VALUE` changes one key (several, with several `--set`); "
             "[every option](options.md) has its own line."]  # fmt: skip
    defaults = {o.key: o.default for o in _walk_defaults()}
    for name in recipes.RECIPES:
        made = recipes.get(name)
        changed = [o for o in options(name) if defaults.get(o.key) != o.default]
        parts += [
            f"## {name}",
            plain(recipes.summaries()[name]),
            f"{len(made.tasks)} task{'s' if len(made.tasks) > 1 else ''} of `{made.env.suite}` at {made.env.size} px. "
            f"What it sets otherwise than the defaults ({len(changed)} of {len(options(name))} keys):",
            ":::{dropdown} The keys",
            table(("key", "value", "default"), ((code(o.key), code(o.default), code(defaults.get(o.key, "absent")))
                                                for o in changed)),
            ":::",
        ]  # fmt: skip
    return "\n\n".join(parts)


def _walk_defaults() -> Iterator[Any]:
    from workbench.launching import options
    from wovr_core.config import to_dict
    from wovr_core.recipes import Recipe

    return options.walk(Recipe, to_dict(Recipe(name=""), whole=True))


def options_page() -> str:
    """Every key of a recipe with its type, its value in each recipe, and its help."""
    from workbench.launching.options import options
    from wovr_core import recipes

    known = {name: {o.key: o for o in options(name)} for name in recipes.RECIPES}
    every = {key: o for found in known.values() for key, o in found.items()}
    parts = ["# Every option", f"{len(every)} keys, generated from the typed configurations. A key is set with "
             "`--set KEY=VALUE`; a misspelt one is refused with the nearest that exists."]  # fmt: skip
    groups: dict[str, list[str]] = {}
    for key in every:
        groups.setdefault(key.split(".")[0] if "." in key else "", []).append(key)
    for group, keys in groups.items():
        parts += [f"## {code(group) if group else 'The whole run'}"]
        rows = []
        for key in keys:
            values: dict[str, list[str]] = {}
            for name, found in known.items():
                if key in found:
                    values.setdefault(found[key].default, []).append(name)
            shown = "; ".join(
                code(value) + ("" if len(values) == 1 and len(names) == len(known) else f" ({', '.join(names)})")
                for value, names in values.items()
            )
            rows.append((code(key), plain(every[key].type), shown, plain(every[key].help)))
        parts.append(table(("key", "type", "value", "meaning"), rows))
    return "\n\n".join(parts)


# The command line


def cli_page() -> str:
    """Every command of `wovr` with its arguments, from the parser itself."""
    from apps.cli import build_parser

    parser = build_parser()
    parts = ["# The command line", plain(parser.description or ""), plain(parser.epilog or ""),
             "Every command takes `--verbose` (debug messages and full tracebacks) and `--help`. Exit codes: 0 done, "
             "1 a check failed or something broke, 2 bad input (one line says what would be right), 130 interrupted "
             "(the same command goes on)."]  # fmt: skip
    for name, sub, summary in _commands(parser):
        parts += _command(name, sub, summary, 2)
    return "\n\n".join(part for part in parts if part)


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                yield name, sub, helps.get(name, "")


def _command(name: str, parser: argparse.ArgumentParser, summary: str, level: int) -> list[str]:
    parts = [f"{'#' * level} {parser.prog}", plain(_sentence(parser.description or summary))]
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        if "--verbose" in action.option_strings:
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        takes = f" {metavar}" if action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction) else ""
        if action.choices is not None and not isinstance(action.metavar, str):
            takes = " {" + ",".join(map(str, action.choices)) + "}"
        shown = ", ".join(action.option_strings) + takes if action.option_strings else metavar
        rows.append((code(shown), plain(action.help or "")))
    parts.append(f"```text\n{_usage(parser)}\n```")
    if rows:
        parts.append(table(("argument", "meaning"), rows))
    for verb, sub, help_text in _commands(parser):
        parts += _command(verb, sub, help_text, min(level + 1, 4))
    return parts


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


# Files


def tensors_page() -> str:
    """What a file of an episode and of a rollout holds, read off files that are written here and now."""
    parts = ["# Episodes and rollouts, tensor by tensor",
             "Read off two files that were written while this page was built, with T = 16 actions, frames of "
             "H = W = 32 pixels, K = 2 chunks of C = 8 actions and a state of S = 5 numbers."]  # fmt: skip
    for title, what, kind in (("Episode", "executed, in a simulator or by a robot", "Episode"),
                              ("Rollout", "imagined by a world model", "Rollout")):  # fmt: skip
        tensors, metadata = _example(kind)
        helps = _field_docs(kind)
        rows = [(code(n), code(dtype), code(str(shape)), plain(_meaning(n, helps))) for n, dtype, shape in tensors]
        parts += [f"## {title}", f"A record that was {what}.", table(("tensor", "dtype", "shape", "meaning"), rows)]
        parts += ["In the header, as JSON:", table(("key", "example"), ((code(k), code(v[:80])) for k, v in metadata))]
    return "\n\n".join(parts)


def _meaning(tensor: str, helps: dict[str, str]) -> str:
    whole = tensor.removesuffix("_delta")
    text = helps.get(whole) or helps.get(whole.removesuffix("s"), "")  # a rollout's one state has the episodes' name
    if whole == tensor:
        return text
    return text.rstrip(".") + ". Stored without loss as differences between frames, and read back whole."


def _field_docs(kind: str) -> dict[str, str]:
    from sphinx.pycode import ModuleAnalyzer

    found = ModuleAnalyzer.for_module("wovr_core.types").find_attr_docs()
    return {name: " ".join(lines) for (owner, name), lines in found.items() if owner == kind}


def _example(kind: str) -> tuple[list[tuple[str, str, tuple[int, ...]]], list[tuple[str, str]]]:
    import numpy as np
    from safetensors import safe_open

    from wovr_core.data import episode_files
    from wovr_core.types import Episode, Rollout, Start, TaskId

    task, n = TaskId("libero_object", 0, "pick up the alphabet soup and place it in the basket"), 16
    frames, actions = np.zeros((n + 1, 32, 32, 3), np.uint8), np.zeros((n, 7), np.float32)
    tokens, odds = np.zeros((2, 8, 7), np.int64), np.zeros((2, 8, 7), np.float32)
    with tempfile.TemporaryDirectory() as name:
        if kind == "Episode":
            path = episode_files.write_episode(Path(name), Episode(
                "episode", task, 0, "expert", frames, actions, np.zeros(n + 1, bool), np.zeros((n + 1, 5)), actions,
                tokens, odds))  # fmt: skip
        else:
            path = episode_files.write_rollout(Path(name), Rollout(
                "rollout", task, Start("episode", 0), "group", 0, frames[:5], actions[:5], np.zeros(5), frames, actions,
                tokens, odds, np.zeros(n + 1, np.float32), np.ones((2, 8), bool), 0.0,
                {"policy": "0123456789ab"}, p_outcome=np.zeros(3, np.float32)))  # fmt: skip
        with safe_open(path, "numpy") as file:
            tensors = [(k, file.get_slice(k).get_dtype(), tuple(file.get_slice(k).get_shape())) for k in file.keys()]  # noqa: SIM118
            metadata = sorted((file.metadata() or {}).items())
    return tensors, metadata


# What was measured, what may go wrong, what there is to read


def results_page(results: Path) -> str:
    """What was reproduced, from the files of results; where there are none, it says so."""
    from workbench.reproduce import report
    from workbench.reproduce.results import read_rows

    found = {n: read_rows(results / f"{n}.json") for n in report.NAMES if (results / f"{n}.json").exists()}
    missing = [name for name in report.NAMES if not found.get(name)]
    parts = ["# What was reproduced, and what not"]
    if any(found.values()):
        text = report.render(found, results).replace("# Results\n", "", 1)
        text = text.replace("the JSON files beside this page; do not edit", "the JSON files of `results/`")
        parts.append(re.sub(r"!?\[[^\]]*\]\((?!https?:)([^)]*)\)", r"`results/\1`", text))  # no pages of this site
    else:
        parts.append("**No study has been run yet**: there is no `results/`. Whatever this site says of the method's "
                     "effect is the paper's claim, not something that was measured here.")  # fmt: skip
    if missing:
        parts.append(f"Not run: {', '.join(missing)}. `wovr reproduce NAME --plan` says what is left of a study, and "
                     "how long it takes.")  # fmt: skip
    parts += ["## What nothing here has met",
              "A GPU, published weights of 5B or 7B parameters, a physical arm. Classes, keys and shapes are checked; "
              "whatever needs the weights themselves is not."]  # fmt: skip
    return "\n\n".join(parts)


def troubleshooting_page() -> str:
    """The checks of `wovr doctor`, each with what it means and what to do, from their docstrings."""
    from apps import doctor

    parts = ["# Troubleshooting", "`wovr doctor` examines this machine, in the order in which one would mend things. "
             "`ok` and `BAD` begin its lines; below a `BAD` one stands what to type."]  # fmt: skip
    for name, check in doctor.CHECKS.items():
        parts += [f"## {name}", inspect.cleandoc(check.__doc__ or "")]
    return "\n\n".join([*parts, (Path(__file__).parent / "reference" / "more_trouble.txt").read_text()])


def notebooks_page(folder: Path) -> str:
    """Title and first paragraph of each notebook."""
    parts = [
        "# Notebooks",
        "Each runs from top to bottom on 2 cores in under 15 minutes: `jupyter lab notebooks`. "
        "They call the packages and define nothing of their own: what they do is what the library does.",
    ]
    for path in sorted(folder.glob("*.py")):
        title, first = _opening(path.read_text())
        if title:
            parts += [f"## {path.stem[:2]} {title}", first, f"`notebooks/{path.stem}.ipynb`"]
    return "\n\n".join(parts)


def _opening(source: str) -> tuple[str, str]:
    cell = source.split("# %% [markdown]", 1)[-1].split("# %%", 1)[0]
    lines = [line.removeprefix("#").removeprefix(" ") for line in cell.strip().splitlines()]
    paragraphs = "\n".join(lines).strip().split("\n\n")
    if not paragraphs[0].startswith("# "):
        return "", ""
    first = paragraphs[1] if len(paragraphs) > 1 else ""
    first = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", first)  # notebooks link to each other, not to pages
    return paragraphs[0].splitlines()[0].removeprefix("# "), first


# The API


def modules_of(package: str) -> list[str]:
    """The modules of a package that are on its page."""
    chosen = API[package]
    found = importlib.import_module(package)
    names = chosen or sorted(m.name for m in pkgutil.iter_modules(found.__path__) if not m.ispkg)
    return [f"{package}.{name}" for name in names if name not in RUNS]


def api_index() -> str:
    """The packages, a line each."""
    pages = "\n".join(API)
    lines = table(("package", "what it is"), ((f"[`{p}`]({p}.md)", plain(_summary(p))) for p in API))
    return f"# API\n\nFrom the docstrings: shapes, units and errors stand beside each thing.\n\n{lines}\n\n" \
           f"```{{toctree}}\n:hidden:\n\n{pages}\n```"  # fmt: skip


def _summary(package: str) -> str:
    doc = ast.get_docstring(ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())) or ""
    return doc.split("\n\n")[0]


def api_page(package: str) -> str:
    """All modules of one package."""
    parts = [f"# {package}", plain(_summary(package))]
    for module in modules_of(package):
        parts += [f"## {module.removeprefix(package + '.')}", f"```{{eval-rst}}\n.. automodule:: {module}\n```"]
    return "\n\n".join(parts)
