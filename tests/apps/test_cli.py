"""Bad input: one line that says what was wrong and what would be right, exit code 2, nothing lost."""

import json
import os
import subprocess
import sys

import pytest

from apps import bench, cli
from apps.cli import main
from wovr_core import __version__
from wovr_core.errors import Interrupted


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    # Decimated meshes are cached where they usually are; runs go to a folder of the test's own.
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    return tmp_path


def complaint(capsys, *argv) -> str:
    """Run a command that must fail politely; returns its one line."""
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert len(error.splitlines()) == 1, error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "pipeline", "--recipe", "demmo"], "unknown recipe 'demmo'; did you mean 'demo'?"),
        (["run", "evalute"], "unknown stage 'evalute'; did you mean 'evaluate'?"),
        (["compare-renderers", "--run", "nowhere"], "there is no run at"),
        (["demo", "--set", "sft.stepz=5"], "did you mean 'sft.steps'?"),
        (["demo", "--set", "sft.steps=lots"], "sft.steps = 'lots'"),
        (["demo", "--set", "sft.steps"], "not of the form key=value"),
        (["demo", "--set", "env.suite=libero_objects"], "did you mean 'libero_object'?"),
        (["demo", "--set", "tasks=[10]"], "unknown task of libero_object '10'; known: 0, 1, 2"),
        (["demo", "--set", "tasks=[]"], "tasks is empty"),
        (["demo", "--set", "env.size=96"], "all frame sizes must agree"),
        (["demo", "--set", "evaluate.trials=51"], "evaluate.trials must be 1 to 50"),
        (["recipes", "dem"], "unknown recipe 'dem'"),
        (["report", "--run", "nothing"], "there is no run at"),
        (["bench", "rendr"], "unknown bench 'rendr'; did you mean 'render'?"),
        (["bench", "lst"], "unknown bench 'lst'; did you mean 'list'?"),
        (["benhc"], "unknown command 'benhc'; did you mean 'bench'?"),
        (["version"], "unknown command 'version'; did you mean 'wovr --version'?"),
        (["jobs", "help"], "did you mean 'wovr jobs --help'?"),
        (["jobs", "submti"], "unknown command 'submti'; did you mean 'submit'?"),
        (["run", "pipeline", "--recpie", "demo"], "wovr run: unknown option '--recpie'; did you mean '--recipe'?"),
        (["demo", "--recpie=smoke"], "unknown option '--recpie'; did you mean '--recipe'?"),
        (["demo", "twice"], "unexpected argument 'twice'"),
        (["track", "demo", "--to", "wnadb"], "unknown --to 'wnadb'; did you mean 'wandb'?"),
        (["demo", "--set", "tasks=4"], "tasks = 4: input should be a list, such as [0,1]"),
        (["correct", "nothing"], "there is no run at"),
        (["refine", "nothing", "--corrections", "x"], "there is no run at"),
        (["doctor", "data", "/nowhere/data"], "there is nothing at /nowhere/data"),
        (["reproduce", "mian"], "unknown study 'mian'; did you mean 'main'?"),
        (["reproduce", "robot", "--plan"], "robot has no --plan"),
    ],
)
def test_mistakes_are_explained_in_one_line(capsys, argv, message):
    assert message in complaint(capsys, *argv)


def test_the_run_that_was_meant_is_named(capsys, home):
    run = home / "runs" / "demo"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    for command in (["report", "--run", "dmeo"], ["correct", "dmeo"], ["autopilot", "dmeo"]):
        assert "did you mean 'demo'?" in complaint(capsys, *command)


def test_an_error_of_the_system_is_one_line_too(capsys, home):
    assert main(["review", "examples", str(home), "--out", str(home / "out")]) == 1
    error = capsys.readouterr().err.strip()
    assert "Is a directory" in error
    assert len(error.splitlines()) == 1
    with pytest.raises(IsADirectoryError):
        main(["review", "examples", str(home), "--out", str(home / "out"), "--verbose"])


def test_a_run_of_another_version_is_refused(capsys, home):
    run = home / "runs" / "old"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"schema": 99, "wovr": "9.9", "recipe": "smoke"}))
    before = (run / "run.json").read_text()
    assert "made by wovr 9.9" in complaint(capsys, "run", "collect", "--recipe", "smoke", "--run", "old")
    assert (run / "run.json").read_text() == before


def test_a_run_of_another_recipe_is_refused(capsys, home):
    run = home / "runs" / "r"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"schema": 1, "recipe": "cpu"}))
    assert "belongs to the recipe 'cpu'" in complaint(capsys, "run", "collect", "--recipe", "smoke", "--run", "r")


def test_a_folder_with_other_things_in_it_is_left_alone(capsys, home):
    (home / "thesis").mkdir()
    (home / "thesis" / "chapter1.tex").write_text("precious")
    line = complaint(capsys, "run", "collect", "--recipe", "smoke", "--run", str(home / "thesis"))
    assert "is not empty and not a run" in line
    assert [p.name for p in (home / "thesis").iterdir()] == ["chapter1.tex"]


@pytest.mark.fault
def test_a_full_disk_is_explained(capsys, home, monkeypatch):
    import errno

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wovr_core.files.os.fsync", full)
    line = complaint(capsys, "run", "collect", "--recipe", "smoke", "--run", "r")
    assert "No space left on device" in line
    assert "MB free there" in line


@pytest.mark.fault
def test_missing_graphics_names_the_packages(home):
    """With every GL library hidden, the command says what to install."""
    code = (
        "import sys; from wovr_core.envs import gl; gl.egl_works = gl.osmesa_works = lambda: False\n"
        "from apps.cli import main; sys.exit(main(['run', 'collect', '--recipe', 'smoke', '--run', 'r']))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    assert "libegl1" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_processes_may_not_write_one_run(capsys, home):
    from wovr_core import recipes
    from wovr_core.run_folder import Run

    with Run(home / "runs" / "busy", recipes.get("smoke")):
        assert "another wovr is working in" in complaint(capsys, "run", "collect", "--recipe", "smoke", "--run", "busy")


def test_recipes_are_listed_and_printed(capsys):
    assert main(["recipes"]) == 0
    assert "demo" in capsys.readouterr().out
    assert main(["recipes", "demo"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "demo"


def test_without_a_command_the_commands_are_listed(capsys):
    assert main([]) == 2
    assert "the whole loop at small scale" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"wovr {__version__}\n"


def test_ctrl_c_twice_ends_without_a_traceback(monkeypatch):
    def again(*args, **kwargs):
        raise KeyboardInterrupt

    def stopped(arguments):
        raise Interrupted("stopped sft after step 3 of 9; the same command goes on from there")

    monkeypatch.setattr(cli, "_recipes", stopped)
    monkeypatch.setattr("builtins.print", again)  # the second one, while the first is being told
    assert main(["recipes"]) == 130


def test_what_is_to_be_typed_next_is_found_by_the_shell(monkeypatch, tmp_path):
    program = tmp_path / ".venv/bin/wovr"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setattr("sys.argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli._as_typed() == str(program), "as `make demo` calls it"
    monkeypatch.setenv("PATH", str(program.parent))
    assert cli._as_typed() == "wovr"
    monkeypatch.setattr("sys.argv", ["apps/cli.py", "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli._as_typed() == "wovr"


def test_benches_say_what_they_measure(capsys):
    assert main(["bench"]) == 0
    listed = capsys.readouterr().out
    assert main(["bench", "list"]) == 0
    assert capsys.readouterr().out == listed
    lines = listed.splitlines()
    assert len(lines) == len(bench.BENCHES)
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in lines)


def test_the_doctor_reports(capsys):
    assert main(["doctor", "--json"]) in (0, 1)
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"python", "packages", "pins", "graphics", "memory", "disk", "threads"} <= set(checks)
    assert checks["graphics"]["ok"]
