"""Imagination and evaluation fanned out over a Ray cluster: equal to this machine's, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workbench.jobs.ray_pool import RayPool, connected
from wovr_core import recipes
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.segments import keyframe
from wovr_core.envs.pool import EnvPool, JobError
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL, save_model
from wovr_core.policy.tiny_vla import build as build_policy
from wovr_core.reward.calibration import Calibration
from wovr_core.reward.classifier import build as build_reward
from wovr_core.stages import evaluate, imagine
from wovr_core.stages.evaluate import EvaluateInputs
from wovr_core.stages.imagine import ImagineInputs, ImagineJob, Simulator, imagine_batch
from wovr_core.world_model.model import build as build_world_model

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def pool(cluster, monkeypatch):
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    with connected(cluster.gcs), RayPool(workers=2, shard=1) as pool:
        yield pool


@pytest.fixture
def simulator(tmp_path):
    """Untrained models of the smoke recipe's sizes."""
    recipe = recipes.smoke()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(tmp_path / "policy", POLICY, build_policy(recipe.sft.policy), lineage={})
        save_model(tmp_path / "wm", WORLD_MODEL, build_world_model(recipe.world_model.model), lineage={})
        calibration = Calibration(1.0, 0.0, 0.5, 0.05, 0, 1, (0.0, 1.0), 1, 0, 1, 0.5, 0.0, "made up")
        extra = {"calibration": calibration.to_dict()}
        save_model(tmp_path / "reward", REWARD, build_reward(recipe.reward.model), lineage={}, extra=extra)
    return Simulator(tmp_path / "policy", tmp_path / "wm", tmp_path / "reward")


def contents(folder: Path) -> dict[str, bytes]:
    """Of every array file below it, metadata included."""
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("threads", [1, 2])
def test_imagination_on_ray_equals_that_of_a_process_here(pool, simulator, make_episode, tmp_path, threads):
    starts = [keyframe(make_episode(f"e{i}", size=32), 4 + 3 * i, "contact") for i in range(4)]
    version = write_keyframes(tmp_path / "keyframes.safetensors", starts)
    config = replace(recipes.smoke().imagine, starts=4, groups_per_batch=1)
    inputs = ImagineInputs(simulator, str(tmp_path / "keyframes.safetensors"), version, 7)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # A process of its own, as Ray's are: torch's kernels keep how they once divided a shape among threads.
        with EnvPool(workers=1) as local:
            here = imagine.run(config, replace(inputs, pool=local), tmp_path / "here")
        there = imagine.run(config, replace(inputs, pool=pool), tmp_path / "there")
    finally:
        torch.set_num_threads(before)
    assert (there.version, there.count, there.imagined_successes) == (here.version, here.count, here.imagined_successes)
    assert here.count == 8
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_evaluation_on_ray_equals_that_of_this_machine(pool, simulator, tmp_path):
    recipe = recipes.smoke()
    config = replace(recipe.evaluate, max_steps=16)
    with EnvPool(workers=1) as local:
        inputs = EvaluateInputs(recipe.env, recipe.tasks, simulator.policy, 3, local)
        here = evaluate.run(config, inputs, tmp_path / "here")
    there = evaluate.run(config, replace(inputs, pool=pool), tmp_path / "there")
    assert replace(there, episodes="") == replace(here, episodes="")
    assert len(contents(tmp_path / "here")) == 2
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_failing_job_is_named_and_the_rest_is_dropped(pool, simulator):
    job = ImagineJob(replace(simulator, policy=Path("/nowhere")), (), recipes.smoke().imagine, seed=1, threads=1)
    with pytest.raises(JobError, match=r"job 0 \(ImagineJob.*there is no checkpoint at /nowhere"):
        list(pool.map(imagine_batch, [job, job]))
    with pytest.raises(TypeError, match="must stand at module level"):
        list(pool.map(lambda envs, job: job, [1]))
