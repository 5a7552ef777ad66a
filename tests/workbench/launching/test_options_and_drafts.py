"""The form: every option of every recipe with its help, and drafts whose mistakes are told by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.launching.drafts import DraftError, launchable, read_draft
from workbench.launching.options import options, search, walk
from wovr_core import recipes
from wovr_core.config import override, to_dict
from wovr_core.envs.libero_streams import STREAMS
from wovr_core.envs.libero_suites import SUITES
from wovr_core.envs.libero_views import VIEWS
from wovr_core.errors import UnknownNameError
from wovr_core.pipeline import STAGES


def draft(**changes: Any) -> dict[str, Any]:
    return {"kind": "sft", "recipe": "smoke", "run": "mine"} | changes


def errors(**changes: Any) -> dict[str, str]:
    with pytest.raises(DraftError) as caught:
        read_draft(draft(**changes))
    return caught.value.fields


@pytest.mark.parametrize("recipe", list(recipes.RECIPES))
def test_every_option_takes_its_own_default(recipe: str) -> None:
    """What the form shows as default is what the recipe has, and it can be typed back."""
    found = options(recipe)
    whole = recipes.get(recipe)
    assert len(found) > 100
    assert override(whole, [f"{o.key}={o.default}" for o in found]) == whole
    assert all(o.help for o in found), [o.key for o in found if not o.help]
    with pytest.raises(UnknownNameError, match="did you mean 'demo'"):
        options("dmeo")


def test_no_option_borrows_the_help_of_what_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """`keyframes.lead_min` explained as "How many starts ..." would be worse than nothing."""
    monkeypatch.setattr("workbench.launching.options._summary", lambda kind: "borrowed")
    for recipe in map(recipes.get, recipes.RECIPES):
        walked = list(walk(type(recipe), to_dict(recipe, whole=True)))
        assert [o.key for o in walked if o.help == "borrowed"] == []


def test_named_values_of_the_environment_are_all_in_its_help() -> None:
    helps = {o.key: o.help for o in options("demo")}
    for key, names in (("suite", SUITES), ("view", VIEWS), ("streams", STREAMS)):
        assert all(name in helps[f"env.{key}"] for name in names), key


def test_help_type_and_choices_are_the_sources() -> None:
    by_key = {o.key: o for o in options("demo")}
    assert by_key["rl.groups"].help == "Keyframes per update."
    assert (by_key["rl.groups"].type, by_key["rl.groups"].default) == ("whole number", "6")
    assert by_key["rl.success_share"].type == "list of 2 numbers"
    assert by_key["env.profile"].choices == ("fast", "reference")


def test_search_finds_by_key_by_help_and_by_near_spelling() -> None:
    found = options("demo")
    assert search(found, "sft.st")[0].key == "sft.steps"
    assert "rl.groups" in [o.key for o in search(found, "keyframes per update")]
    assert "rl.temperature" in [o.key for o in search(found, "temprature")]
    assert search(found, "qqqqzzzz") == []


def test_a_good_draft_becomes_an_argv_without_a_shell() -> None:
    spec = read_draft(
        draft(
            changes=[{"key": "sft.steps", "value": "50"}, {"key": "tasks", "value": "[0, 1]"}],
            resources={"cores": "1", "memory_mb": 900},
            priority="-3",
            retries=2,
        )
    )
    assert spec.argv()[-8:] == ["--recipe", "smoke", "--run", "mine", "--set", "sft.steps=50", "--set", "tasks=[0, 1]"]
    assert (spec.resources.cores, spec.resources.memory_mb, spec.priority, spec.retries) == (1, 900, -3, 2)
    assert list(launchable())[: 1 + len(STAGES)] == ["pipeline", *STAGES]


def test_mistakes_are_told_at_their_fields_and_all_at_once() -> None:
    found = errors(
        kind="stf",
        run="",
        changes=[],
        resources={"cores": "many", "gpus": -1},
        priority=1000,
        retries="x",
    )
    assert "did you mean 'sft'" in found["kind"]
    assert found["run"] == "give the run a name"
    assert "not a whole number" in found["resources.cores"]
    assert "0 or more" in found["resources.gpus"]
    assert "-100 to 100" in found["priority"]
    assert "retries" in found
    found = errors(changes=[{"key": "sft.stpes", "value": "5"}, {"key": "sft.batch", "value": "many"}])
    assert found["changes.sft.stpes"] == "unknown key 'sft.stpes'; did you mean 'sft.steps'?"
    assert "valid integer" in found["changes.sft.batch"]
    assert "sft is a group" in errors(changes=[{"key": "sft", "value": "5"}])["changes.sft"]
    assert "1 to 50" in errors(changes=[{"key": "evaluate.trials", "value": "51"}])["changes.evaluate.trials"]
    assert "did you mean 'smoke'" in errors(recipe="smok")["recipe"]


@pytest.mark.security
@pytest.mark.parametrize(
    "run",
    [
        "../other",
        "/etc",
        "a/b",
        "..",
        ".hidden",
        "a b",
        "x;reboot",
        "$(id)",
        "`id`",
        "x\ny",
        "x\x00",
        "-rf",
        "ü",
        "a" * 65,
    ],
)
def test_a_run_is_an_id_and_never_a_path_or_a_command(run: str) -> None:
    assert "run" in errors(run=run)


@pytest.mark.security
@pytest.mark.parametrize(
    "change",
    [
        {"key": "sft.steps=1;reboot #", "value": "5"},
        {"key": "--run", "value": "other"},
        {"key": "../x", "value": "1"},
        {"key": "__class__.x", "value": "1"},
        {"key": "sft.__init__", "value": "1"},
        {"key": "name", "value": "cpu"},
        {"key": "sft.steps", "value": "5\n--run\nother"},
        {"key": "sft.steps", "value": "$(reboot)"},
        {"key": "sft.steps", "value": {"a": 1}},
        {"key": "sft.steps", "value": "9" * 2000},
        {"key": ["sft"], "value": "1"},
        "sft.steps=5",
        None,
    ],
)
def test_a_change_is_a_known_key_and_a_value_of_its_type(change: Any) -> None:
    assert any(name.startswith("changes") for name in errors(changes=[change]))


@pytest.mark.security
def test_shell_characters_in_a_text_option_stay_one_argument() -> None:
    """Where any text is allowed it is one element of argv, and no shell ever sees it."""
    evil = "agentview; touch /tmp/x && $(id) `id` | cat"
    spec = read_draft(draft(changes=[{"key": "env.camera", "value": evil}]))
    assert spec.argv()[-1] == f"env.camera={evil}"


@pytest.mark.security
@pytest.mark.parametrize(
    "nonsense",
    [
        None, 3, "x", [], {}, {"kind": 5, "recipe": [], "run": {}}, draft(argv=["sh"]), draft(command="sh"),
        draft(resources=[1]), draft(resources={"cores": True}), draft(resources={"disk": 1}),
        draft(changes="sft.steps=5"),
        draft(changes=[{"key": "seed", "value": "1"}] * 201), draft(parameters=[1]), draft(parameters={"x": 1}),
        draft(priority=float("inf")), draft(retries=float("nan")), draft(kind="../pipeline"), draft(kind="rlinf"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_in_words(nonsense: Any) -> None:
    with pytest.raises(DraftError) as caught:
        read_draft(nonsense)
    assert str(caught.value)


def test_a_draft_error_survives_a_process_boundary() -> None:
    import pickle

    error = DraftError({"run": "no"})
    again = pickle.loads(pickle.dumps(error))
    assert again.fields == {"run": "no"}
    assert Path(str(again)).name == "run: no"
