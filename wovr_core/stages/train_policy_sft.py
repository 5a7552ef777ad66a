"""Train the base policy by imitation of a few demonstrations per task: a new one, or one that has been trained before.

A policy that somebody brings may also be taken as it is (`steps=0`): the run then begins with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from wovr_core.adapters import LoRAConfig, add_adapters, merge_adapters, trainable
from wovr_core.checkpoints import load_checkpoint, read_manifest, save_checkpoint
from wovr_core.config import LATER
from wovr_core.data.segments import by_task
from wovr_core.errors import WovrError
from wovr_core.model_files import POLICY, load_policy, save_model, version_of
from wovr_core.policy.base import ImitationLoss
from wovr_core.policy.policies import policy_of
from wovr_core.policy.sft import SFTDataset, SFTLossConfig
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.precision import bf16_pays
from wovr_core.seeding import derive_seed, torch_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.training import Stateful, Training, set_learning_rate, warmup_cosine
from wovr_core.types import Episode, FloatArray
from wovr_core.world_model.ema import Ema


@dataclass(frozen=True)
class PolicySFTConfig:
    policy: TinyVLAConfig = field(default_factory=TinyVLAConfig)
    loss: SFTLossConfig = field(default_factory=SFTLossConfig)
    demonstrations: int = 30
    """Successful demonstrations per task that the policy may see."""
    steps: int = 2000
    batch: int = 48
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    ema_decay: float = 0.995
    autocast: bool = True
    """Compute in bfloat16 where the processor multiplies it in hardware; elsewhere float32."""
    checkpoint: str | None = field(default=None, metadata=LATER)
    """Folder of a policy to begin with, in place of a new one as `policy` says; what it is decides the loss. With
    steps=0 it is taken as it is. An absolute path, where the run goes on from another folder or as a job."""
    lora: LoRAConfig | None = field(default=None, metadata=LATER)
    """Train adapters only and merge them at the end: for large policies."""

    def image_size(self, size: int) -> int:
        """Side of the frames that the policy takes; `size` where it takes any.

        Raises:
            CorruptFileError: there is no checkpoint, or it is damaged.
            CheckpointMismatchError: it is of no policy.
        """
        if self.checkpoint is None:
            return int(getattr(self.policy, "image_size", size))
        return int(read_manifest(Path(self.checkpoint), POLICY)["config"].get("image_size", size))


@dataclass(frozen=True)
class PolicySFTInputs:
    episodes: str
    version: str
    seed: int


@dataclass(frozen=True)
class PolicyOutputs:
    policy: str
    """The checkpoint folder."""
    version: str


def run(
    config: PolicySFTConfig, inputs: PolicySFTInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> PolicyOutputs:
    """SFT; resumes.

    Raises:
        WovrError: a task has no successful demonstration, or policies of this kind cannot be taught by them.
        CorruptFileError: there is no checkpoint to begin with, or it is damaged.
    """
    versions = {"episodes": inputs.version, "seed": str(inputs.seed)}
    if config.checkpoint:
        versions["policy"] = version_of(Path(config.checkpoint))
    folder = StageFolder(out_dir, "train_policy_sft", config, versions, on_metrics)
    finished = folder.outputs(PolicyOutputs)
    if finished:
        return finished
    path = folder.path / "policy"
    if config.checkpoint and not config.steps:
        version = _take_over(Path(config.checkpoint), path)
        return folder.finish(PolicyOutputs(policy=str(path), version=version))
    dataset = SFTDataset(_demonstrations(list(load_named([inputs.episodes]).values()), config.demonstrations))
    policy, imitation_loss = _begin(config, inputs.seed, dataset.actions)
    if config.lora:
        add_adapters(policy, config.lora, derive_seed(inputs.seed, "adapters"), keep=())
    ema = Ema(policy, config.ema_decay)
    learning = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.0, weight_decay=config.weight_decay, fused=True)

    autocast = config.autocast and bf16_pays()
    modules: dict[str, Stateful] = {"policy": trainable(policy) if config.lora else policy, "ema": ema}
    with Training(folder, steps=config.steps, modules=modules, optimizer=optimizer) as training:
        for step in training:
            generator = torch_generator(inputs.seed, "sft", step)
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps))
            batch = dataset.sample(config.batch, generator)
            loss, metrics = imitation_loss(policy, batch, generator, config.loss, autocast=autocast)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            ema.update(policy)
            training.log(metrics)

    ema.copy_to(policy)
    if config.lora:
        merge_adapters(policy)
    parent = {"parent": versions["policy"]} if config.checkpoint else {}
    version = save_model(path, POLICY, policy, lineage={"demonstrations": inputs.version} | parent)
    return folder.finish(PolicyOutputs(policy=str(path), version=version))


def _begin(config: PolicySFTConfig, seed: int, actions: FloatArray) -> tuple[Any, ImitationLoss]:
    """The policy before its first step, and the loss of its kind.

    Bins are fitted to the actions (N, A) of a new policy only: what a trained one's outputs mean is settled.
    """
    if config.checkpoint:
        policy, _ = load_policy(Path(config.checkpoint))
        kind = policy_of(policy.config)
    else:
        kind = policy_of(config.policy)
        policy = kind.build(config.policy, derive_seed(seed, "policy_weights"))
        if kind.fit:
            kind.fit(policy, actions)
    if kind.imitation_loss is None:
        raise WovrError("policies of this kind cannot be taught by demonstrations: the plug-in has no imitation_loss")
    return policy.train(), kind.imitation_loss


def _take_over(checkpoint: Path, path: Path) -> str:
    """The same policy in the run, with the lineage that it has: nothing was learned here."""
    found = load_checkpoint(checkpoint, POLICY)
    return save_checkpoint(path, POLICY, found.config, found.tensors, lineage=found.lineage, extra=found.extra)


def _demonstrations(episodes: Sequence[Episode], count: int) -> list[Episode]:
    chosen = []
    for task, group in by_task(episodes).items():
        successful = [e for e in group if e.succeeded and e.source == "expert"]
        if not successful:
            raise WovrError(f"no successful demonstration of {task} ({task.instruction!r}); collect more with --set")
        chosen += successful[:count]
    return chosen
