"""An RLinf-Wan folder's weights, read and written. (`dataset/` is `data.formats.rlinf_dataset`'s.)

model-00001.safetensors   transformer and action MLPs
Wan2.2_VAE.pth            autoencoder
resnet_rm.pth             reward model, or taskemb_resnet_rm.pth
wan_SUITE_grpo.yaml       what RLinf runs with these (`rlinf_config`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wovr_core.errors import WovrError
from wovr_core.files import replace_file
from wovr_core.reward.rlinf import ResnetReward, RlinfReward, TaskEmbedReward, from_state
from wovr_core.world_model.model import WorldModel, WorldModelConfig
from wovr_core.world_model.rlinf import (
    RLINF_WORLD_MODEL,
    TRANSFORMER_FILE,
    VAE_FILE,
    load_state,
    read_world_model,
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
    rewards = [folder / kind.file for kind in (ResnetReward, TaskEmbedReward) if (folder / kind.file).is_file()]
    if not with_reward:
        rewards = []
    if len(rewards) > 1:
        raise WovrError(f"{folder} has two reward models, {rewards[0].name} and {rewards[1].name}: keep one")
    world_model, spare, reports = read_world_model(folder / TRANSFORMER_FILE, folder / VAE_FILE, config)
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
        files.append(write_rlinf_reward(folder, reward))
    return files


def write_rlinf_reward(folder: Path, reward: RlinfReward) -> Path:
    """Write the reward model under the name that RLinf looks for; returns the file."""
    state = {name: t.detach().cpu().contiguous() for name, t in reward.state_dict().items()}
    path = folder / reward.file
    replace_file(path, lambda temporary: torch.save(state, temporary))
    return path


def _check_size(model: WorldModel) -> None:
    own, published = model.config, RLINF_WORLD_MODEL
    for name in ("layers", "heads", "head_dim", "patch", "image_size"):
        if own.wan is None or getattr(own, name) != getattr(published, name):
            found = "its own small autoencoder" if own.wan is None else f"{name} {getattr(own, name)}"
            raise WovrError(
                f"RLinf reads world models of the published size only, with {name} {getattr(published, name)}; "
                f"this one has {found}: train it with the recipe wan22_5b"
            )
