"""An RLinf-Wan folder's weights and configuration, read and written. (`dataset/` is `data.formats.rlinf_dataset`'s.)

model-00001.safetensors   transformer and action MLPs
Wan2.2_VAE.pth            autoencoder
resnet_rm.pth             reward model, or taskemb_resnet_rm.pth
wan_SUITE_grpo.yaml       what RLinf runs with these
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wovr_core.errors import WovrError
from wovr_core.files import write_bytes
from wovr_core.reward.rlinf import ResnetReward, RlinfReward, TaskEmbedReward, from_state
from wovr_core.types import CHUNK, CONTEXT_FRAMES
from wovr_core.world_model.model import WorldModel, WorldModelConfig
from wovr_core.world_model.rlinf import (
    RLINF_WORLD_MODEL,
    TRANSFORMER_FILE,
    VAE_FILE,
    load_state,
    read_world_model,
    replace_file,
    write_world_model,
)
from wovr_core.world_model.wan_keys import KeyReport


@dataclass(frozen=True)
class RlinfWeights:
    """What a folder's weights are as our models."""

    world_model: WorldModel
    reward: RlinfReward | None
    """None if the folder has no reward model."""
    spare: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Tensors that our model has no place for (the text embedder), to be written back."""
    reports: Mapping[str, KeyReport] = field(default_factory=dict)
    """By file."""


def read_rlinf_weights(
    folder: Path,
    instructions: Sequence[str] = (),
    config: WorldModelConfig = RLINF_WORLD_MODEL,
    *,
    with_reward: bool = True,
) -> RlinfWeights:
    """Read them all, tensor by tensor, with nothing missing and nothing left over.

    Args:
        instructions: of the suite, for a reward model that is told the task.
        config: what the world model should be; the published sizes by default.
        with_reward: read the reward model, too.

    Raises:
        WovrError: tensors that do not fit (named), or two reward models.
        CorruptFileError: a file is missing or damaged.
    """
    world_model, spare, reports = read_world_model(folder / TRANSFORMER_FILE, folder / VAE_FILE, config)
    rewards = [folder / kind.file for kind in (ResnetReward, TaskEmbedReward) if (folder / kind.file).is_file()]
    if not with_reward:
        rewards = []
    if len(rewards) > 1:
        raise WovrError(f"{folder} has two reward models, {rewards[0].name} and {rewards[1].name}: keep one")
    reward = None
    for path in rewards:
        state = load_state(path)
        reward = from_state(state, instructions)
        reports[path.name] = KeyReport(len(state))
    return RlinfWeights(world_model, reward, spare, reports)


def write_rlinf_weights(
    folder: Path,
    world_model: WorldModel,
    reward: RlinfReward | None = None,
    spare: Mapping[str, torch.Tensor] | None = None,
    *,
    any_size: bool = False,
) -> list[Path]:
    """Write our models for RLinf; returns the files.

    Args:
        spare: from `RlinfWeights`, where the model came from one.
        any_size: write models that RLinf itself cannot read, because they are not of the published size.

    Raises:
        WovrError: a world model of another kind or size.
    """
    if not any_size:
        _check_size(world_model)
    files = [folder / TRANSFORMER_FILE, folder / VAE_FILE]
    write_world_model(files[0], files[1], world_model, spare)
    if reward is not None:
        state = {name: t.detach().cpu().contiguous() for name, t in reward.state_dict().items()}
        files.append(folder / reward.file)
        replace_file(files[-1], lambda path: torch.save(state, path))
    return files


def _check_size(model: WorldModel) -> None:
    own, published = model.config, RLINF_WORLD_MODEL
    for name in ("layers", "heads", "head_dim", "patch", "image_size"):
        if own.wan is None or getattr(own, name) != getattr(published, name):
            found = "its own small autoencoder" if own.wan is None else f"{name} {getattr(own, name)}"
            raise WovrError(
                f"RLinf reads world models of the published size only, with {name} {getattr(published, name)}; "
                f"this one has {found}: train it with the recipe wan22_5b"
            )


def write_configuration(folder: Path, suite: str, policy: str, reward: nn.Module | None = None) -> Path:
    """`rlinf_config` as a file beside the weights."""
    import yaml

    path = folder / f"wan_{suite}_grpo.yaml"
    text = yaml.safe_dump(rlinf_config(str(folder.absolute()), suite, policy, reward), sort_keys=False)
    write_bytes(path, text.encode())
    return path


def rlinf_config(
    folder: str, suite: str, policy: str, reward: nn.Module | None = None, steps: int = 256, unnorm_key: str = ""
) -> dict[str, Any]:
    """RLinf's configuration of GRPO in this world model, for its `run_embodiment.sh`; write it with `yaml.safe_dump`.

    Args:
        folder: the exported folder, as RLinf's machine sees it.
        suite: libero_spatial, libero_object, libero_goal or libero_10.
        policy: the OpenVLA-OFT checkpoint, as RLinf's machine sees it.
        reward: the reward model that was written; the plain one if not given.
        steps: an imagined episode's longest.
        unnorm_key: the policy's action statistics; the suite's without no-ops by default.
    """
    kind = reward if isinstance(reward, TaskEmbedReward) else ResnetReward
    return {
        "defaults": [
            f"env/wan_{suite}@env.train",
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
        "algorithm": _ALGORITHM,
        "env": {
            "group_name": "EnvGroup",
            "train": {
                "total_num_envs": 64,
                "group_size": "${algorithm.group_size}",
                "max_episode_steps": steps,
                "max_steps_per_rollout_epoch": steps,
                "reward_coef": "${algorithm.reward_coef}",
                "reset_gripper_open": False,
                "enable_offload": True,
                "wan_wm_hf_ckpt_path": folder,
                "VAE_path": f"{folder}/{VAE_FILE}",
                "model_path": f"{folder}/{TRANSFORMER_FILE}",
                "initial_image_path": f"{folder}/dataset/",
                "enable_kir": True,
                "num_inference_steps": 5,
                "chunk": CHUNK,
                "condition_frame_length": CONTEXT_FRAMES,
                "num_frames": CONTEXT_FRAMES + CHUNK,
                "image_size": [256, 256],
                "reward_model": {"type": kind.kind, "from_pretrained": f"{folder}/{kind.file}"},
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
            "model": {"model_path": policy, "precision": "${actor.model.precision}"},
        },
        "actor": {
            "group_name": "ActorGroup",
            "training_backend": "fsdp",
            "micro_batch_size": 32,
            "global_batch_size": 8192,
            "seed": 1234,
            "enable_offload": True,
            "model": {
                "model_path": policy,
                "model_type": "openvla_oft",
                "unnorm_key": unnorm_key or f"{suite}_no_noops",
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
