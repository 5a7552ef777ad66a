"""Policies, world models and reward classifiers as checkpoint folders, with the lineage that made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wovr_core.checkpoints import Checkpoint, load_checkpoint, read_manifest, save_checkpoint
from wovr_core.config import from_dict, to_dict

if TYPE_CHECKING:
    from wovr_core.policy.openvla_oft.policy import OpenVLAOFT
    from wovr_core.reward.calibration import Calibration
    from wovr_core.reward.classifier import RewardClassifier
    from wovr_core.world_model.model import WorldModel

POLICY, WORLD_MODEL, REWARD = "policy", "world_model", "reward"


def version_of(path: Path) -> str:
    """The version of a checkpoint, from its manifest."""
    return str(read_manifest(path)["version"])


def save_model(
    path: Path,
    kind: str,
    model: torch.nn.Module,
    *,
    lineage: Mapping[str, str],
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Save any of the three kinds (each has a dataclass `config`); returns the checkpoint's version."""
    config = model.config
    assert dataclasses.is_dataclass(config)
    return save_checkpoint(path, kind, to_dict(config), model.state_dict(), lineage=lineage, extra=extra)


def load_policy(path: Path) -> tuple[Any, str]:
    """The policy in evaluation mode (a `policy.base.Policy`: TinyVLA, OpenVLAOFT, a plug-in's), and its version.

    Raises:
        CorruptFileError: there is no checkpoint, or it is damaged.
        CheckpointMismatchError: it is of no policy, or of another version.
        MissingDependencyError: OpenVLA-OFT needs a package that is not installed.
    """
    from wovr_core.policy.policies import policy_of
    from wovr_core.policy.tiny_vla import TinyVLAConfig

    checkpoint = load_checkpoint(path, POLICY)
    if "vision" in checkpoint.config and "kind" not in checkpoint.config:
        return _openvla_oft(checkpoint, path), checkpoint.version
    config = from_dict(TinyVLAConfig, checkpoint.config, str(path))
    policy = policy_of(config).build(config, 0)
    checkpoint.load_into(policy, path)
    return policy.eval(), checkpoint.version


def _openvla_oft(checkpoint: Checkpoint, path: Path) -> OpenVLAOFT:
    from wovr_core.foreign_weights import without_values
    from wovr_core.policy.openvla_oft.policy import OpenVLAOFT, OpenVLAOFTConfig

    with without_values():
        policy = OpenVLAOFT(from_dict(OpenVLAOFTConfig, checkpoint.config, str(path)))
    checkpoint.load_into(policy, path, assign=True)
    return policy.eval()


def load_world_model(path: Path) -> tuple[WorldModel, str]:
    """The world model in evaluation mode, and its version."""
    from wovr_core.world_model.model import WorldModelConfig
    from wovr_core.world_model.world_models import build_world_model

    checkpoint = load_checkpoint(path, WORLD_MODEL)
    model = build_world_model(from_dict(WorldModelConfig, checkpoint.config, str(path)))
    checkpoint.load_into(model, path)
    return model.eval(), checkpoint.version


def load_reward(path: Path) -> tuple[RewardClassifier, Calibration, str]:
    """The classifier in evaluation mode, its calibration (with the success threshold), and its version."""
    from wovr_core.reward.calibration import Calibration
    from wovr_core.reward.classifier import RewardConfig, build

    checkpoint = load_checkpoint(path, REWARD)
    classifier = build(from_dict(RewardConfig, checkpoint.config, str(path)))
    checkpoint.load_into(classifier, path)
    calibration = from_dict(Calibration, checkpoint.extra["calibration"], f"{path} calibration")
    return classifier.eval(), calibration, checkpoint.version
