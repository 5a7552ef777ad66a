"""`wovr users`: accounts from the command line, their passwords never in argv."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

pytest.importorskip("argon2")

from apps.cli import main
from workbench.server.accounts import Accounts
from workbench.server.audit_log import AuditLog
from workbench.server.roles import Role

pytestmark = pytest.mark.security
GOOD = "correct horse battery"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    return tmp_path


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_an_account_from_beginning_to_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["users", "list"]) == 0
    assert "wovr users add" in capsys.readouterr().out
    say(monkeypatch, GOOD + "\n")
    assert main(["users", "add", "ann", "--role", "annotator", "--password-stdin"]) == 0
    assert main(["users", "list"]) == 0
    assert "ann" in capsys.readouterr().out
    account = Accounts().check("ann", GOOD)
    assert account is not None
    assert account.role is Role.ANNOTATOR
    assert main(["users", "role", "ann", "operator"]) == 0
    say(monkeypatch, "another password\n")
    assert main(["users", "password", "ann", "--password-stdin"]) == 0
    changed = Accounts().check("ann", "another password")
    assert changed is not None
    assert changed.role is Role.OPERATOR
    assert main(["users", "remove", "ann"]) == 0
    assert Accounts().all() == []
    assert [entry["what"] for entry in AuditLog().entries()] == [
        "user added", "role changed", "password changed", "user removed",
    ]  # fmt: skip
    assert GOOD not in AuditLog().path.read_text()


@pytest.mark.parametrize(
    ("argv", "stdin", "told"),
    [
        (["add", "ann", "--role", "emperor", "--password-stdin"], GOOD, "unknown role"),
        (["add", "ann", "--role", "viewer", "--password-stdin"], "short", "10 to 1024"),
        (["add", "a/b", "--role", "viewer", "--password-stdin"], GOOD, "is no name"),
        (["add", "ann", "--role", "viewer"], GOOD, "--password-stdin"),
        (["remove", "nobody"], "", "unknown user"),
        (["role", "nobody", "viewer"], "", "unknown user"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    argv: list[str], stdin: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, stdin)
    assert main(["users", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert Accounts().all() == []


def test_no_option_takes_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["users", "add", "ann", "--role", "viewer", "--password", GOOD])
    assert Accounts().all() == []


def test_two_typed_passwords_must_agree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    typed = iter([GOOD, GOOD + "x", GOOD, GOOD])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    assert main(["users", "add", "ann", "--role", "viewer"]) == 2
    assert "differ" in capsys.readouterr().err
    assert main(["users", "add", "ann", "--role", "viewer"]) == 0
    assert Accounts().check("ann", GOOD) is not None
