"""An RLinf folder, whole: weights, and a configuration that names them."""

from dataclasses import replace

import pytest
import torch
import yaml

from wovr_core.errors import WovrError
from wovr_core.reward.rlinf import ResnetReward, TaskEmbedReward
from wovr_core.rlinf import read_rlinf_weights, write_rlinf_weights
from wovr_core.rlinf_config import RlinfRun, rlinf_config
from wovr_core.world_model.pretrained import PretrainedConfig, build_pretrained

TASKS = [f"task {i}" for i in range(10)]


@pytest.fixture(scope="module")
def model(wan_config, wan_folder):
    return build_pretrained(wan_config, PretrainedConfig(str(wan_folder)))


@pytest.mark.parametrize("reward", [None, ResnetReward(), TaskEmbedReward(TASKS)])
def test_a_folder_comes_back(model, reward, tmp_path):
    files = write_rlinf_weights(tmp_path, model, reward, any_size=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in files)
    found = read_rlinf_weights(tmp_path, TASKS, model.config)
    assert all(torch.equal(v, found.world_model.state_dict()[k]) for k, v in model.state_dict().items())
    assert all(report.complete for report in found.reports.values())
    assert set(found.reports) == {p.name for p in files}
    assert {k: v.abs().max() for k, v in found.spare.items()} == {f"text_embedding.{k}": 0 for k in (
        "0.weight", "0.bias", "2.weight", "2.bias")}  # fmt: skip
    if reward is None:
        assert found.reward is None
    else:
        assert all(torch.equal(v, found.reward.state_dict()[k]) for k, v in reward.state_dict().items())


def test_rlinf_would_not_read_another_size(model, tmp_path):
    with pytest.raises(WovrError, match="layers 30; this one has layers 2: train it with the recipe wan22_5b"):
        write_rlinf_weights(tmp_path, model)
    assert not any(tmp_path.iterdir())
    write_rlinf_weights(tmp_path, model, ResnetReward(), any_size=True)
    torch.save(TaskEmbedReward(TASKS).state_dict(), tmp_path / TaskEmbedReward.file)
    with pytest.raises(WovrError, match="two reward models"):
        read_rlinf_weights(tmp_path, TASKS, model.config)
    with pytest.raises(WovrError, match="does not fit"):
        read_rlinf_weights(tmp_path, TASKS, replace(model.config, layers=3), with_reward=False)


def test_the_configuration_names_the_files():
    config = rlinf_config(RlinfRun("libero_goal", "/data/policy", "/data/wan", reward=TaskEmbedReward))
    assert yaml.safe_load(yaml.safe_dump(config)) == config
    train = config["env"]["train"]
    assert train["reward_model"] == {
        "type": "TaskEmbedResnetRewModel", "from_pretrained": "/data/wan/taskemb_resnet_rm.pth"
    }  # fmt: skip
    assert (train["model_path"], train["num_frames"]) == ("/data/wan/model-00001.safetensors", 13)
    assert config["actor"]["model"]["unnorm_key"] == "libero_goal_no_noops"
    assert config["defaults"][0] == "env/wan_libero_goal@env.train"
    assert (train["task_suite_name"], train["reset_gripper_open"]) == ("libero_goal", True)
    assert (train["total_num_envs"], config["actor"]["global_batch_size"]) == (64, 8192)


def test_the_configuration_follows_the_number_of_environments():
    config = rlinf_config(RlinfRun("libero_10", "p", "f", environments=12, group_size=4, steps=128, keyframes=False))
    assert config["defaults"][:2] == ["env/wan_libero_spatial@env.train", "env/libero_10@env.eval"]
    train = config["env"]["train"]
    assert (train["task_suite_name"], train["enable_kir"]) == ("libero_10", False)
    assert (train["total_num_envs"], config["algorithm"]["group_size"]) == (12, 4)
    chunks = 12 * config["algorithm"]["rollout_epoch"] * 128 // train["chunk"]
    assert chunks % config["actor"]["global_batch_size"] == 0
    with pytest.raises(WovrError, match=r"12 environments are no whole groups of 8.*take 16"):
        RlinfRun("libero_10", "p", "f", environments=12)
    with pytest.raises(WovrError, match="did you mean 'libero_goal'"):
        RlinfRun("libero_gaol", "p", "f")
    with pytest.raises(WovrError, match="at least 2"):
        RlinfRun("libero_10", "p", "f", group_size=1)
