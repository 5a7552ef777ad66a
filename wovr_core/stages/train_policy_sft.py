"""Train the base policy by imitation of a few demonstrations per task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wovr_core.data.segments import by_task
from wovr_core.errors import WovrError
from wovr_core.model_files import POLICY, save_model
from wovr_core.policy.policies import policy_of
from wovr_core.policy.sft import SFTDataset, SFTLossConfig
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.precision import bf16_pays
from wovr_core.seeding import derive_seed, torch_generator
from wovr_core.stages.collect import load_named
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.training import Stateful, Training, set_learning_rate, warmup_cosine
from wovr_core.types import Episode
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
    """SFT. Raises WovrError when a task has no successful demonstration."""
    versions = {"episodes": inputs.version, "seed": str(inputs.seed)}
    folder = StageFolder(out_dir, "train_policy_sft", config, versions, on_metrics)
    finished = folder.outputs(PolicyOutputs)
    if finished:
        return finished
    dataset = SFTDataset(_demonstrations(list(load_named([inputs.episodes]).values()), config.demonstrations))
    kind = policy_of(config.policy)
    if kind.imitation_loss is None:
        raise WovrError("policies of this kind cannot be taught by demonstrations: the plug-in has no imitation_loss")
    policy = kind.build(config.policy, derive_seed(inputs.seed, "policy_weights"))
    if kind.fit:
        kind.fit(policy, dataset.actions)
    ema = Ema(policy, config.ema_decay)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.0, weight_decay=config.weight_decay, fused=True)

    autocast = config.autocast and bf16_pays()
    modules: dict[str, Stateful] = {"policy": policy, "ema": ema}
    with Training(folder, steps=config.steps, modules=modules, optimizer=optimizer) as training:
        for step in training:
            generator = torch_generator(inputs.seed, "sft", step)
            set_learning_rate(optimizer, config.learning_rate * warmup_cosine(step, config.steps))
            batch = dataset.sample(config.batch, generator)
            loss, metrics = kind.imitation_loss(policy, batch, generator, config.loss, autocast=autocast)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            ema.update(policy)
            training.log(metrics)

    ema.copy_to(policy)
    path = folder.path / "policy"
    version = save_model(path, POLICY, policy, lineage={"demonstrations": inputs.version})
    return folder.finish(PolicyOutputs(policy=str(path), version=version))


def _demonstrations(episodes: Sequence[Episode], count: int) -> list[Episode]:
    chosen = []
    for task, group in by_task(episodes).items():
        successful = [e for e in group if e.succeeded and e.source == "expert"]
        if not successful:
            raise WovrError(f"no successful demonstration of {task} ({task.instruction!r}); collect more with --set")
        chosen += successful[:count]
    return chosen
