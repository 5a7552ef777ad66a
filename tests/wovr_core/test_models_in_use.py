"""Which checkpoints a run goes on with."""

import json
from pathlib import Path

import pytest

from wovr_core.models_in_use import models_in_use


def finish(run: Path, stage: str, **outputs: object) -> None:
    (run / stage).mkdir()
    (run / stage / "outputs.json").write_text(json.dumps({"outputs": outputs, "seconds": 0.0}))


def test_a_run_goes_on_with_what_it_has_finished(tmp_path: Path) -> None:
    assert models_in_use(tmp_path) == {}
    finish(tmp_path, "sft")
    (tmp_path / "rl").mkdir()  # begun
    assert models_in_use(tmp_path) == {"policy": tmp_path / "sft" / "policy"}
    finish(tmp_path, "world_model")
    finish(tmp_path, "reward")
    assert models_in_use(tmp_path)["reward"] == tmp_path / "reward" / "reward"
    finish(tmp_path, "rl_evolved")
    assert models_in_use(tmp_path)["policy"] == tmp_path / "rl_evolved" / "policy"


@pytest.mark.parametrize(("world_model", "reward"), [(True, False), (False, True), (True, True), (False, False)])
def test_a_refined_model_is_used_if_it_was_promoted(tmp_path: Path, world_model: bool, reward: bool) -> None:
    for stage in ("world_model", "reward"):
        finish(tmp_path, stage)
    finish(tmp_path, "refine", world_model_promoted=world_model, reward_promoted=reward)
    found = models_in_use(tmp_path)
    assert found["world_model"].parent.name == ("refine" if world_model else "world_model")
    assert found["reward"].parent.name == ("refine" if reward else "reward")


def test_of_several_rounds_the_newest_finished_ones_are_used(tmp_path: Path) -> None:
    for stage in ("sft", "world_model", "reward", "rl", "rl_evolved_2", "rl_evolved_10"):
        finish(tmp_path, stage)
    finish(tmp_path, "refine_2", world_model_promoted=True, reward_promoted=True)
    finish(tmp_path, "refine_10", world_model_promoted=False, reward_promoted=True)
    found = {kind: path.parent.name for kind, path in models_in_use(tmp_path).items()}
    assert found == {"policy": "rl_evolved_10", "world_model": "refine_2", "reward": "refine_10"}
    finish(tmp_path, "rl_evolved")
    assert models_in_use(tmp_path)["policy"].parent.name == "rl_evolved"
