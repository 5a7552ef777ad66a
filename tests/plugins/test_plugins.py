"""Plug-ins through entry points: found, loaded when asked for, and clear errors where one is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps import cli
from wovr_core import plugins, recipes
from wovr_core.config import from_dict, override, to_dict
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.policy.tiny_vla import TinyVLAConfig

QUICK = ["sft.steps=3", "sft.batch=4", "collect.clean=2", "collect.faulty=1", "sft.demonstrations=2",
         "collect_base.episodes=2", "evaluate.trials=2", "workers=0"]  # fmt: skip


def settings(*assignments: str) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def test_every_group_of_the_example_is_found_and_loads(reach: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins", "--json"]) == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row["package"] == "wovr-reach 0.1.0"]
    assert {row["group"] for row in rows} == set(plugins.GROUPS)
    assert not any(row["problem"] for row in rows)


def test_a_plug_in_s_configuration_is_chosen_by_kind_and_set_by_its_own_keys(reach: Path) -> None:
    recipe = override(recipes.smoke(), ["env.kind=reach", "env.size=48", "sft.policy.kind=patches"])
    assert (recipe.env.kind, recipe.env.size) == ("reach", 48)  # type: ignore[attr-defined]
    assert from_dict(recipes.Recipe, to_dict(recipe), "there and back") == recipe
    assert override(recipe, ["env.kind=libero"]).env == LiberoConfig()
    with pytest.raises(UnknownNameError, match=r"did you mean 'env\.size'"):
        override(recipe, ["env.siz=3"])
    with pytest.raises(WovrError, match=r"env\.size"):
        override(recipe, ["env.size=large"])


def test_a_recipe_without_plug_ins_is_written_as_before() -> None:
    assert "kind" not in to_dict(recipes.demo())["env"]
    assert from_dict(TinyVLAConfig, {"width": 32}, "a checkpoint") == TinyVLAConfig(width=32)


def test_an_unknown_kind_names_those_that_there_are(reach: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'reach'"):
        override(recipes.smoke(), ["env.kind=reech"])
    with pytest.raises(UnknownNameError, match="unknown policy 'nothing'"):
        from_dict(TinyVLAConfig, {"kind": "nothing"}, "a checkpoint")


def test_policy_and_environment_run_through_the_stages(
    reach: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collect with its demonstrator, imitate with its loss, act in its environment, from its recipe."""
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    run = ["run", "evaluate_base", "--recipe", "reach", "--run", "r"]
    assert cli.main([*run, *settings(*QUICK)]) == 0
    folder = tmp_path / "runs" / "r"
    demonstrations = list(EpisodeSet(folder / "collect" / "episodes"))
    assert sorted(e.source for e in demonstrations) == ["expert", "expert", "expert_fault"]
    assert all(e.succeeded for e in demonstrations if e.source == "expert")
    manifest = json.loads((folder / "sft" / "policy" / "manifest.json").read_text())
    assert manifest["config"]["kind"] == "patches"
    trials = list(EpisodeSet(folder / "evaluate_base" / "episodes"))
    assert {e.task.suite for e in trials} == {"reach"}
    assert all(e.source == manifest["version"] for e in trials)
    env = plugins.load(plugins.ENVIRONMENTS, "reach", plugins.ConfiguredPlugin)
    replayed = env.build(env.config(), 0).restore(trials[0].sim_states[-1])  # type: ignore[attr-defined,index]
    assert np.array_equal(replayed, trials[0].frames[-1])


def test_a_checkpoint_of_a_missing_plug_in_says_so(tmp_path: Path) -> None:
    from wovr_core.checkpoints import save_checkpoint
    from wovr_core.model_files import load_policy

    save_checkpoint(tmp_path / "policy", "policy", {"kind": "patches", "hidden": 8}, {})
    with pytest.raises(UnknownNameError, match="unknown policy 'patches'"):
        load_policy(tmp_path / "policy")


def test_a_plug_in_s_format_is_parsed_in_the_sandbox(reach: Path, tmp_path: Path) -> None:
    from wovr_core.data.formats.sandbox import Sandbox, SandboxedReader

    states = [[0.2, 0.2, 0.5, 0.5], [0.26, 0.2, 0.5, 0.5], [0.32, 0.2, 0.5, 0.5]]
    (tmp_path / "a.strip.json").write_text(json.dumps({"states": states, "actions": [[1, 0, 0, 0, 0, 0, -1]] * 2}))
    with Sandbox() as sandbox:
        reader = SandboxedReader("strips", tmp_path, {}, sandbox)
        clip = reader.read(reader.keys()[0])
    assert clip.frames.shape == (3, 32, 32, 3)
    assert clip.suite == "reach"


def test_the_app_has_the_page_and_does_without_a_broken_one(
    reach: Path, broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from apps.pages import PAGES, all_pages

    shown = all_pages()
    assert [page.path for page in shown] == [*(page.path for page in PAGES), "reach"]
    assert "wovr-broken 1.0" in caplog.text
    assert "at import" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_the_page_is_served_and_where_it_cannot_be_built_the_others_are(
    reach: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    from starlette.testclient import TestClient
    from wovr_reach import page

    from apps.app import create_app
    from apps.services import Services
    from workbench.catalogue.catalogue import Catalogue, CatalogueConfig

    def broken_build(services: Services) -> None:
        raise ZeroDivisionError("while it was built")

    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    if fails:
        monkeypatch.setattr(page, "build", broken_build)
    app = create_app(Services(Catalogue(CatalogueConfig(runs=tmp_path / "runs"))))
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        for path in ("/", "/review", "/reach"):
            answer = client.get(path)
            assert answer.status_code == 200
        shown = "This page of a plug-in cannot be shown" in answer.text and "while it was built" in answer.text
        assert shown == fails
        assert ("Where things are" in answer.text) != fails


def test_the_options_of_the_recipe_are_the_plug_in_s(reach: Path) -> None:
    from workbench.launching.options import options

    options.cache_clear()
    found = {option.key: option for option in options("reach")}
    assert found["sft.policy.patches"].help == "The picture is averaged over so many patches a side."
    assert "env.profile" not in found


def test_the_page_evaluate_knows_the_tasks_of_a_plug_in_s_run(reach: Path) -> None:
    from workbench.launching.evaluation_desk import _instructions

    env = to_dict(recipes.get("reach"))["env"]
    assert _instructions(env) == ["bring the hand to the block"]
    assert len(_instructions({"suite": "libero_object", "long_gone": 1})) == 10


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("explodes", "AttributeError"),
        ("wrong", "WRONG is int, not PolicyPlugin"),
        ("unnamed", "needs the field kind: Literal['unnamed']"),
    ],
)
def test_a_broken_plug_in_names_its_package(broken: Path, name: str, reason: str) -> None:
    from wovr_core.policy.base import PolicyPlugin

    with pytest.raises(plugins.PluginError, match=r"wovr-broken 1\.0") as error:
        plugins.load(plugins.POLICIES, name, PolicyPlugin)
    assert reason in str(error.value)


def test_a_broken_plug_in_takes_nothing_with_it(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plugins"]) == 1
    assert capsys.readouterr().out.count("BAD") == 5
    assert "demo2" not in recipes.summaries()
    assert recipes.get("demo").name == "demo"
    assert cli.main(["run", "collect", "--recipe", "demo2"]) == 2
    assert "wovr-broken 1.0" in capsys.readouterr().err


def test_two_packages_of_one_name_are_told_of(reach: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    (other / "wovr_other-2.0.dist-info").mkdir(parents=True)
    (other / "wovr_other-2.0.dist-info" / "METADATA").write_text("Name: wovr-other\nVersion: 2.0\n")
    (other / "wovr_other-2.0.dist-info" / "entry_points.txt").write_text("[wovr.policies]\npatches = json:loads\n")
    monkeypatch.syspath_prepend(str(other))
    plugins._installed.cache_clear()
    with pytest.raises(plugins.PluginError, match="wovr-other and wovr-reach both bring 'patches'"):
        plugins.find(plugins.POLICIES, "patches")


@pytest.mark.slow
def test_the_whole_loop_runs_on_the_plug_ins(reach_site: Path, tmp_path: Path) -> None:
    """As a user would: another process, worker processes, the world model of the package too."""
    environment = os.environ | {"WOVR_HOME": str(tmp_path), "PYTHONPATH": str(reach_site)}
    changes = settings("world_model.model.kind=still", "sft.steps=30", "workers=1")
    command = [sys.executable, "-m", "apps.cli", "run", "pipeline", "--recipe", "reach", "--run", "r", *changes]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "runs" / "r"
    assert json.loads((run / "world_model" / "world_model" / "manifest.json").read_text())["config"]["kind"] == "still"
    audit = json.loads((run / "audit" / "outputs.json").read_text())["outputs"]
    assert audit["false_success"][1] + audit["false_failure"][1] == 6
    assert (run / "report.html").stat().st_size > 10_000
