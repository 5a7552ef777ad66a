"""Practice of several rounds, with stages that make nothing."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from workbench.reproduce import job
from workbench.reproduce.arms import ARMS
from workbench.reproduce.job import ArmJob, real_budget
from workbench.reproduce.stage_store import plain
from wovr_core import recipes
from wovr_core.config import to_dict
from wovr_core.errors import WovrError
from wovr_core.files import fingerprint
from wovr_core.recipes import Recipe

RECIPE = replace(recipes.get("smoke"), threads=1)


class FakeStore:
    """Makes nothing: each stage's artefacts are called like the stage, which is called by its number among its kind."""

    def __init__(self, folder):
        self.folder, self.run = folder, SimpleNamespace(path=folder)
        self.made, self.asked, self.seconds = {}, [], {}

    def stage(self, name, function, config, inputs):
        key = fingerprint([name, to_dict(config), plain(inputs, self.folder)])
        if key not in self.made:
            self.made[key] = f"{name}{sum(kind == name for kind, _, _ in self.asked)}"
            self.asked.append((name, config, inputs))
        called = self.made[key]
        artefacts = dict.fromkeys(("policy", "world_model", "reward", "keyframes", "version", "episodes"), called)
        return SimpleNamespace(**artefacts, held_out=["0/a"], gate={})

    def of(self, name):
        return [inputs for kind, _, inputs in self.asked if kind == name]


@pytest.fixture
def practise(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "_per_task", lambda folders: Counter())

    def practised(recipe: Recipe, arm: str) -> tuple[FakeStore, str]:
        store = FakeStore(tmp_path)
        trained = ArmJob(store, recipe, ARMS[arm], 0, None).train()
        return store, str(trained.policy)

    return practised


def kinds(store: FakeStore) -> list[str]:
    names = [name for name, _, _ in store.asked]
    return names[names.index("reward") + 1 :]


def test_each_round_goes_on_from_the_one_before(practise):
    store, policy = practise(replace(RECIPE, rounds=3), "wovr")
    again = ["collect_new", "refine", "keyframes", "rl"]
    assert kinds(store) == ["keyframes", "rl", *again, *again]
    assert [str(i.simulator.policy) for i in store.of("rl")] == ["sft0", "rl0", "rl1"]
    assert [str(i.simulator.world_model) for i in store.of("rl")] == ["world_model0", "refine0", "refine1"]
    assert policy == "rl2"
    assert [str(i.policy) for i in store.of("collect_new")] == ["rl0", "rl1"]
    assert len({i.seed for i in store.of("collect_new")}) == 2, "no start is met twice"
    assert len({i.seed for i in store.of("rl")}) == 3


def test_episodes_keep_their_numbers_through_refinements_and_the_newest_are_practised_on_first(practise):
    store, _ = practise(replace(RECIPE, rounds=3), "wovr")
    # What was held out of the first training is named by its place among these.
    assert [i.old_episodes for i in store.of("refine")] == [
        ("collect_base0", "collect0"), ("collect_base0", "collect0", "collect_new0"),
    ]  # fmt: skip
    assert [i.versions[-1] for i in store.of("refine")] == ["collect_new0", "collect_new1"]
    assert [i.episodes for i in store.of("keyframes")] == [
        ("collect_base0", "collect0"),
        ("collect_new0", "collect_base0", "collect0"),
        ("collect_new1", "collect_new0", "collect_base0", "collect0"),
    ]


def test_without_pace_as_many_real_episodes_come_before_all_practice(practise):
    store, policy = practise(replace(RECIPE, rounds=3), "without_pace")
    assert kinds(store) == ["collect_new", "refine", "keyframes", "rl", "rl", "rl"]
    (new,) = store.of("collect_new")
    assert str(new.policy) == "sft0"
    (config,) = [config for name, config, _ in store.asked if name == "collect_new"]
    assert config.episodes == 2 * RECIPE.collect_evolved.episodes
    assert policy == "rl2"


def test_two_rounds_are_what_is_practised_unless_set(practise):
    assert kinds(practise(RECIPE, "wovr")[0]) == kinds(practise(replace(RECIPE, rounds=2), "wovr")[0])


def test_the_real_budget_grows_with_the_rounds():
    evolved = RECIPE.collect_evolved.episodes * len(RECIPE.tasks)
    assert real_budget(replace(RECIPE, rounds=4)) - real_budget(RECIPE) == 2 * evolved


def test_no_practice_has_less_than_two_rounds():
    with pytest.raises(WovrError, match=r"rounds must be at least 2, .* got 1"):
        replace(RECIPE, rounds=1)
