"""The configuration that RLinf runs GRPO with in an exported folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import write_bytes
from wovr_core.reward.rlinf import ResnetReward, TaskEmbedReward
from wovr_core.types import CHUNK, CONTEXT_FRAMES
from wovr_core.world_model.rlinf import TRANSFORMER_FILE, VAE_FILE

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
_WAN_SUITES = SUITES[:3]
"""RLinf has an environment of Wan for these; another suite takes the first one's and its own name."""


@dataclass(frozen=True)
class RlinfRun:
    """What RLinf is to do with a folder; the values of LIBERO-Spatial as published."""

    suite: str
    """One of SUITES."""
    policy: str
    """The OpenVLA-OFT checkpoint, as RLinf's machine sees it."""
    folder: str
    """The exported one, as RLinf's machine sees it."""
    reward: type[ResnetReward | TaskEmbedReward] = ResnetReward
    steps: int = 256
    """An imagined episode's longest."""
    unnorm_key: str = ""
    """The policy's action statistics; empty: the suite's without no-ops."""
    environments: int = 64
    group_size: int = 8
    """Of GRPO; environments come in whole groups."""
    image_size: int = 256
    keyframes: bool = True

    def __post_init__(self) -> None:
        if self.suite not in SUITES:
            raise UnknownNameError("suite for RLinf", self.suite, SUITES)
        if self.group_size < 2:
            raise WovrError(f"a group of {self.group_size} has nothing to be compared with: take at least 2")
        groups, left = divmod(self.environments, self.group_size)
        if groups < 1 or left:
            raise WovrError(
                f"{self.environments} environments are no whole groups of {self.group_size}, each of which RLinf "
                f"starts from one start: take {self.group_size * (groups + 1)}, or another group size"
            )


def write_configuration(folder: Path, run: RlinfRun) -> Path:
    """`rlinf_config` as a file beside the weights."""
    import yaml

    path = folder / f"wan_{run.suite}_grpo.yaml"
    write_bytes(path, yaml.safe_dump(rlinf_config(run), sort_keys=False).encode())
    return path


def rlinf_config(run: RlinfRun) -> dict[str, Any]:
    """RLinf's configuration of GRPO in this world model, for its `run_embodiment.sh`, as YAML's plain values."""
    folder, suite, steps = run.folder, run.suite, run.steps
    return {
        "defaults": [
            f"env/wan_{suite if suite in _WAN_SUITES else _WAN_SUITES[0]}@env.train",
            f"env/{suite}@env.eval",
            "model/openvla_oft@actor.model",
            "training_backend/fsdp@actor.fsdp_config",
            {"override hydra/job_logging": "stdout"},
        ],
        "hydra": {
            "run": {"dir": "."},
            "output_subdir": None,
            "searchpath": ["file://${oc.env:EMBODIED_PATH}/config/"],
        },
        "cluster": {"num_nodes": 1, "component_placement": {"actor,env,rollout": "all"}},
        "runner": {
            "task_type": "embodied",
            "logger": {
                "log_path": "../results",
                "project_name": "rlinf",
                "experiment_name": f"wovr_{suite}",
                "logger_backends": ["tensorboard"],
            },
            "max_epochs": 1000,
            "max_steps": -1,
            "only_eval": False,
            "val_check_interval": -1,
            "save_interval": 5,
            "resume_dir": None,
            "ckpt_path": None,
        },
        "algorithm": {**_ALGORITHM, "group_size": run.group_size},
        "env": {
            "group_name": "EnvGroup",
            "train": {
                "task_suite_name": suite,
                "total_num_envs": run.environments,
                "group_size": "${algorithm.group_size}",
                "max_episode_steps": steps,
                "max_steps_per_rollout_epoch": steps,
                "reward_coef": "${algorithm.reward_coef}",
                # The action that is said to have led to a first frame opens the gripper (NULL_ACTION).
                "reset_gripper_open": True,
                "enable_offload": True,
                "wan_wm_hf_ckpt_path": folder,
                "VAE_path": f"{folder}/{VAE_FILE}",
                "model_path": f"{folder}/{TRANSFORMER_FILE}",
                "initial_image_path": f"{folder}/dataset/",
                "enable_kir": run.keyframes,
                "num_inference_steps": 5,
                "chunk": CHUNK,
                "condition_frame_length": CONTEXT_FRAMES,
                "num_frames": CONTEXT_FRAMES + CHUNK,
                "image_size": [run.image_size, run.image_size],
                "reward_model": {"type": run.reward.kind, "from_pretrained": f"{folder}/{run.reward.file}"},
            },
            "eval": {
                "total_num_envs": 500,
                "auto_reset": True,
                "ignore_terminations": True,
                "max_episode_steps": 2 * steps,
                "max_steps_per_rollout_epoch": 2 * steps,
                "group_size": 1,
                "reset_gripper_open": False,
                "is_eval": True,
            },
        },
        "rollout": {
            "group_name": "RolloutGroup",
            "generation_backend": "huggingface",
            "enable_offload": True,
            "pipeline_stage_num": 1,
            "model": {"model_path": run.policy, "precision": "${actor.model.precision}"},
        },
        "actor": {
            "group_name": "ActorGroup",
            "training_backend": "fsdp",
            "micro_batch_size": 32,
            # Four updates of each collection, as published with 64 environments.
            "global_batch_size": steps // 2 * run.environments,
            "seed": 1234,
            "enable_offload": True,
            "model": {
                "model_path": run.policy,
                "model_type": "openvla_oft",
                "unnorm_key": run.unnorm_key or f"{suite}_no_noops",
                "max_prompt_length": 128,
            },
            "optim": {
                "lr": 2.0e-5, "value_lr": 3.0e-3, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_eps": 1.0e-5,
                "weight_decay": 0.01, "clip_grad": 1.0,
            },
            "fsdp_config": {
                "strategy": "fsdp",
                "gradient_checkpointing": True,
                "mixed_precision": {
                    f"{name}_dtype": "${actor.model.precision}" for name in ("param", "reduce", "buffer")
                },
            },
        },
        "reward": {"use_reward_model": False},
        "critic": {"use_critic_model": False},
    }  # fmt: skip


_ALGORITHM: dict[str, Any] = {
    "normalize_advantages": True,
    "kl_penalty": "kl",
    "group_size": 8,
    "rollout_epoch": 16,
    "eval_rollout_epoch": 1,
    "reward_type": "action_level",
    "logprob_type": "token_level",
    "entropy_type": "token_level",
    "adv_type": "grpo",
    "loss_type": "actor",
    "loss_agg_func": "token-mean",
    "kl_beta": 0.0,
    "entropy_bonus": 0,
    "clip_ratio_high": 0.28,
    "clip_ratio_low": 0.2,
    "clip_ratio_c": 3.0,
    "value_clip": 0.2,
    "huber_delta": 10.0,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "reward_coef": 5.0,
    "sampling_params": {
        "do_sample": True, "temperature_train": 1.6, "temperature_eval": 1.6, "top_k": -1, "top_p": 1.0,
        "repetition_penalty": 1.0,
    },
    "length_params": {"max_new_token": None, "max_length": 1024, "min_length": 1},
    "filter_rewards": True,
    "rewards_lower_bound": 0.5,
    "rewards_upper_bound": 4.5,
}  # fmt: skip
"""RLinf's published hyper-parameters of WoVR: what its readers ask for, with the values of LIBERO-Spatial."""
