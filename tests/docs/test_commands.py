"""Every command of README and documentation is parsed by the real parser, and the cheap ones are run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from doc_commands import ROOT, Command, blocks, commands, documents, inline, other_texts, problem, shortened_problem

from apps import cli

DOCUMENTS = documents()
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
CHEAP = {
    "wovr run list", "wovr bench list", "wovr recipes demo", "wovr plugins", "wovr users list", "wovr jobs kinds",
    "wovr jobs list", "wovr store rebuild", "wovr store guideline", "wovr review queue", "wovr review stats",
}  # fmt: skip
"""What takes a second or two in an empty home."""
NO_ARM = {"docs/robot/first_hour.md"}
"""Its Python needs an arm, or a simulator of one; the tests of `wovr_core.robots` run such code."""


def all_commands() -> list[Command]:
    return [c for path, name in zip(DOCUMENTS, IDS, strict=True) for c in commands(path.read_text(), name)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_command_is_one(path: Path) -> None:
    text = path.read_text()
    found = {c.text: problem(c) for c in commands(text, path.name)}
    found |= {c.text: shortened_problem(c) for c in inline(text, path.name)}
    assert not {text: reason for text, reason in found.items() if reason}


@pytest.mark.parametrize(
    "wrong",
    [
        "wovr evalute",
        "wovr run pipeline --recepi demo",
        "wovr run rl2",
        "wovr run pipeline --recipe demmo",
        "wovr run pipeline --recipe demo --set sft.stepz=3",
        "wovr bench rendre",
        "wovr jobs submit pipelin",
        "make demmo",
        "jupyter lab notebooks/99_nothing.ipynb",
        "python -m workbench.nothing",
        "pip install --editable tests/plugins/nothing",
        "accelerate launch -m apps.cli world-model trian",
        "frobnicate --all",
    ],
)
def test_a_wrong_command_is_found(wrong: str) -> None:
    [command] = commands(f"```bash\n{wrong}   # a comment\n```", "here")
    assert problem(command)


@pytest.mark.parametrize(
    "wrong",
    ["wovr stor", "wovr store verify", "wovr app --robots NAME", "wovr jobs submit sft --bakend ray", "make dmo"],
)
def test_a_wrong_command_of_a_sentence_is_found(wrong: str) -> None:
    [command] = inline(f"Type `{wrong}` and wait.", "here")
    assert shortened_problem(command)


def test_a_shortened_command_of_a_sentence_is_none() -> None:
    found = inline(
        "`wovr export`, `wovr jobs submit ... --backend ray`, `wovr track RUN --to wandb`, `make demo`", "here"
    )
    assert [shortened_problem(c) for c in found] == [""] * 4


def test_every_command_that_code_lessons_and_messages_name_is_one() -> None:
    named = [c for path in other_texts() for c in inline(path.read_text(), str(path.relative_to(ROOT)))]
    assert len({c.where for c in named}) > 30, "lessons, help and messages name commands"
    assert not {(c.where, c.text): reason for c in named if (reason := shortened_problem(c))}


def test_several_commands_of_a_line_are_all_read() -> None:
    found = list(commands("```bash\nmake a && wovr b; wovr c  # d\n```\n```python\nwovr e\n```", "here"))
    assert [c.text for c in found] == ["make a", "wovr b", "wovr c"]


def test_what_is_run_is_written_somewhere() -> None:
    assert {c.text for c in all_commands()} >= CHEAP


@pytest.mark.parametrize("line", sorted(CHEAP))
def test_cheap_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    monkeypatch.delenv("WOVR_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()[1:]) == cli.EXIT_OK


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_python_in_the_documentation_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WOVR_HOME", os.environ.get("WOVR_HOME", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(blocks(path.read_text(), "python", "py")):
        program = compile(block, f"{path.name}, block {number}", "exec")
        if str(path.relative_to(ROOT)) not in NO_ARM:
            exec(program, {"__name__": "documentation"})


def test_pictures_and_files_that_pages_name_are_there() -> None:
    missing = []
    for path in DOCUMENTS:
        text = path.read_text()
        named = re.findall(r"!?\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
        named += re.findall(r"^:file: (\S+)|^```\{literalinclude\} (\S+)", text, re.M) and [
            a or b for a, b in re.findall(r"^:file: (\S+)|^```\{literalinclude\} (\S+)", text, re.M)
        ]
        missing += [f"{path.name}: {name}" for name in named
                    if "generated/" not in name and not (path.parent / name).exists()]  # fmt: skip
    assert not missing
