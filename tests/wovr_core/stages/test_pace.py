"""One round of PACE: what it looks at, and what it holds the world model's error against. Models are stand-ins; the
episodes, the folders and the decision are real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wovr_core.coevolution.autopilot import AutopilotConfig
from wovr_core.data.episode_files import EpisodeSet, write_episode
from wovr_core.envs.libero import LiberoConfig
from wovr_core.stages import pace
from wovr_core.stages.collect import CollectOutputs, CollectPolicyConfig
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.refine_world_model import RefineOutputs
from wovr_core.stages.train_reward import RewardTrainingConfig
from wovr_core.types import Episode

ERRORS = {"known": 1.0, "held": 10.0, "probe": 12.0}
"""What imagining an episode errs by, by the beginning of its name."""


@pytest.fixture
def run_round(
    tmp_path: Path, make_episode: Callable[..., Episode], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pace.PaceOutputs]:
    """Runs a round in a folder of its own; its first folder of episodes holds two that were trained on, and `held`."""
    known = tmp_path / "known"
    for name in ("known0", "held", "known1"):
        write_episode(known, make_episode(name))

    def collect(config: CollectPolicyConfig, inputs: Any, out_dir: Path, _: object) -> CollectOutputs:
        folder = out_dir / "episodes"
        for n in range(config.episodes):
            write_episode(folder, make_episode(f"{out_dir.name}{n}"))
        return CollectOutputs(str(folder), EpisodeSet(folder).write_index(), config.episodes, 0, 0)

    def error(model: object, episodes: Sequence[Episode], *_: object) -> float:
        found = [next(ERRORS[kind] for kind in ERRORS if e.id.startswith(kind)) for e in episodes]
        return sum(found) / len(found) if found else float("nan")

    def refine(config: object, inputs: Any, out_dir: Path, on_metrics: Any) -> RefineOutputs:
        on_metrics("refine_world_model", 1, {})
        before, after = {"world_model_error": 12.0}, {"world_model_error": 9.0}
        return RefineOutputs("w1", "r1", True, True, before, after, 3)

    monkeypatch.setattr(pace, "run_policy_episodes", collect)
    monkeypatch.setattr(pace, "world_model_error", error)
    monkeypatch.setattr(pace, "refine", refine)
    monkeypatch.setattr(pace, "load_world_model", lambda path: (SimpleNamespace(), path.name))
    monkeypatch.setattr(pace, "version_of", lambda path: path.name)
    monkeypatch.setattr(Simulator, "versions", lambda self: {name: p.name for name, p in vars(self).items()})

    def run(drift: float, name: str = "round", **more: Any) -> pace.PaceOutputs:
        monkeypatch.setattr(pace, "_drift", lambda config, inputs: drift)
        pilot = AutopilotConfig(budget=20, probe_drift=0.02, drift=0.2, error_growth=1.15)
        config = pace.PaceConfig(pilot, CollectPolicyConfig(episodes=2), CollectPolicyConfig(episodes=3))
        simulator = Simulator(Path("p1"), Path("w0"), Path("r0"))
        values: dict[str, Any] = {"held_out": ("0/held",), "baseline": None, "spent": 0} | more
        inputs = pace.PaceInputs(
            env=LiberoConfig(), tasks=(0,), pool=SimpleNamespace(), simulator=simulator, reference=Path("p0"),
            episodes=(str(known),), versions=("v",), calibration_episodes=(), reward_training=RewardTrainingConfig(),
            seed=0, **values,
        )  # fmt: skip
        return pace.run(config, inputs, tmp_path / name, lambda stage, *_: told.append(stage))

    told: list[str] = []
    run.told = told  # type: ignore[attr-defined]
    return run


def test_the_error_calls_for_the_first_refinement_too(run_round: Callable[..., pace.PaceOutputs]) -> None:
    """A little drift of the actions, much of the error: 12 against 10 on episodes that the model never saw."""
    found = run_round(drift=0.05)
    assert (found.action, found.reason) == ("refine", "error grew by 1.20 >= 1.15")
    assert (found.error, found.spent) == (12.0, 2 + 3)
    assert run_round.told == ["refine_world_model", "pace"]  # type: ignore[attr-defined]
    assert (found.world_model, found.baseline) == ("w1", 9.0), "from here on growth is measured from the refined model"


def test_an_error_that_is_as_before_calls_for_nothing(
    run_round: Callable[..., pace.PaceOutputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ERRORS, "probe", 11.0)
    found = run_round(drift=0.05)
    assert (found.action, found.reason) == ("wait", "drift 0.050, error grew by 1.10")
    assert (found.baseline, found.world_model, found.spent) == (10.0, "w0", 2)


def test_the_last_refinement_is_what_counts_once_there_was_one(run_round: Callable[..., pace.PaceOutputs]) -> None:
    found = run_round(drift=0.05, baseline=12.0)
    assert (found.action, found.baseline) == ("wait", 12.0)


def test_without_episodes_that_were_held_out_the_first_look_is_the_measure(
    run_round: Callable[..., pace.PaceOutputs],
) -> None:
    found = run_round(drift=0.05, held_out=())
    assert (found.action, found.baseline) == ("wait", 12.0)


def test_a_policy_that_has_not_moved_costs_no_real_episode(run_round: Callable[..., pace.PaceOutputs]) -> None:
    found = run_round(drift=0.01)
    assert (found.action, found.error, found.spent, found.baseline) == ("wait", None, 0, None)
