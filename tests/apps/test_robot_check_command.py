"""`wovr robot check` as typed: a table or JSON, and an exit code that tells."""

from __future__ import annotations

import json

import pytest

from apps.cli import main
from wovr_core.robots import preflight
from wovr_core.robots.preflight import Check, Status

pytestmark = pytest.mark.robot


def test_the_command_prints_a_table_or_json_and_its_exit_code_tells(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    kernel = Check("kernel", Status.FAIL, "no", "boot another")
    monkeypatch.setattr(preflight, "check_kernel", lambda: kernel)
    assert main(["robot", "check"]) == 1
    text = capsys.readouterr().out
    assert "fail kernel" in text
    assert "-> boot another" in text
    assert main(["robot", "check", "--simulator", "--json"]) in (0, 1)
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["kernel"]["status"] == "warn"
    assert checks["server"]["status"] == "skip"
    assert main(["robot", "check", "--control"]) == 2
    assert main(["robot", "check", "--control", "--host", "127.0.0.9"]) == 2  # nobody at the stop button
    assert "--yes" in capsys.readouterr().err
