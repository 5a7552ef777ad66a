"""The arms of the studies: one method each, told apart by named switches and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from wovr_core.config import LATER
from wovr_core.errors import UnknownNameError
from wovr_core.recipes import Recipe
from wovr_core.stages.train_policy_rl import PolicyRLConfig
from wovr_core.types import CHUNK


@dataclass(frozen=True)
class Arm:
    """Where the policy practises, and which of WoVR's parts are on."""

    name: str
    practice: Literal["none", "imagined", "real"] = "imagined"
    anchor: bool = True
    """The world model sees the episode's first frame."""
    noisy_context: bool = True
    """It was trained with noise in its recent context."""
    kir: bool = True
    """Rollouts begin at keyframes; otherwise all at episode beginnings, and run to the episode's full length."""
    post_success_mask: bool = True
    """What follows a rollout's first success is left out of the loss."""
    pace: bool = True
    """The refinement's real episodes are the improved policy's, between two rounds of RL; otherwise as many of the base
    policy's, before both."""
    outcome: bool = True
    """A rollout that ends before the task does is worth the predicted outcome, where the recipe has that; otherwise
    rollouts are twice as long, and only imagined successes count."""
    hold: bool = True
    """Practice is held near the policy that it began with, where the recipe does that."""
    correlated: bool = True
    """The draws of a chunk go together, where the recipe has that; otherwise each is independent."""
    first_contact: bool | None = field(default=None, metadata=LATER)
    """False: rollouts begin before every decisive moment, where the recipe begins before the first grasp only."""
    real: bool | None = field(default=None, metadata=LATER)
    """False: practice hears no real episodes, where the recipe's does."""

    @property
    def switches(self) -> str:
        """What is off, for people: "no anchor, no noisy context"; "" where nothing is."""
        names = {
            "no anchor": self.anchor,
            "no noisy context": self.noisy_context,
            "no KIR": self.kir,
            "no post-success mask": self.post_success_mask,
            "no PACE": self.pace,
            "no predicted outcome": self.outcome,
            "no hold": self.hold,
            "no correlated draws": self.correlated,
            "no start before the first grasp": self.first_contact is not False,
            "no real episodes": self.real is not False,
        }
        return ", ".join(name for name, on in names.items() if not on)

    def apply(self, recipe: Recipe) -> Recipe:
        """The recipe with this arm's switches set; everything else stays."""
        model = replace(
            recipe.world_model.model,
            anchor=self.anchor,
            context_noise=recipe.world_model.model.context_noise if self.noisy_context else 0.0,
        )
        rl = replace(recipe.rl, post_success_mask=self.post_success_mask)
        keyframes = recipe.keyframes
        if not self.outcome:
            rl = _of_length(replace(rl, outcome_worth=0.0, trace=None), 2 * rl.chunks)
        if not self.hold:
            rl = replace(rl, reference_weight=0.0)
        if not self.correlated:
            rl = replace(rl, correlation=0.0)
        if self.first_contact is False:
            keyframes = replace(keyframes, first_contact=None)
        if self.real is False:
            rl = replace(rl, real_weight=None)
        if not self.kir:
            # From its beginning an episode takes long to succeed: rollouts run to the end.
            rl = _of_length(rl, math.ceil(recipe.evaluate.max_steps / CHUNK))
            keyframes = replace(keyframes, initial_share=1.0)
        return replace(recipe, world_model=replace(recipe.world_model, model=model), rl=rl, keyframes=keyframes)


def _of_length(rl: PolicyRLConfig, chunks: int) -> PolicyRLConfig:
    """Rollouts of so many chunks, and so many of them that an update imagines as many frames as in the other arms."""
    return replace(rl, chunks=chunks, groups=max(1, round(rl.groups * rl.chunks / chunks)))


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("base", practice="none"),
        Arm("wovr"),
        Arm("grpo_online", practice="real"),
        Arm("wmpo", anchor=False, noisy_context=False, kir=False, post_success_mask=False, pace=False),
        Arm("without_kir", kir=False),
        Arm("without_mask", post_success_mask=False),
        Arm("without_pace", pace=False),
        Arm("without_anchor", anchor=False),
        Arm("without_outcome", outcome=False),
        Arm("without_hold", hold=False),
        Arm("without_correlation", correlated=False),
        Arm("without_first_contact", first_contact=False),
        Arm("without_real", real=False),
    )
}
MAIN = ("base", "grpo_online", "wmpo", "wovr")
RIVALS = ("grpo_online", "wmpo")
"""What WoVR has to be ahead of, on the same real budget."""
ABLATIONS = (
    "base", "wovr", "without_kir", "without_mask", "without_pace", "without_anchor", "without_outcome", "without_hold",
    "without_correlation", "without_first_contact", "without_real",
)  # fmt: skip

WORLD_MODELS: dict[str, dict[str, object]] = {
    "full": {},
    "no_reference_frame": {"anchor": False},
    "one_context_frame": {"recent_frames": 1},
    "no_noisy_context": {"context_noise": 0.0},
    "time_channel_only": {"actions_in_tokens": False},
    "token_channel_only": {"actions_in_time": False},
}
"""World-model ablations: name -> keys of `WorldModelConfig` that differ."""


AGREEMENT = {"full": 1, "third": 3}
"""World models of the agreement study: name -> by what the transformer's training steps are divided."""


def find_arm(name: str) -> Arm:
    """Raises UnknownNameError ("did you mean")."""
    if name not in ARMS:
        raise UnknownNameError("arm", name, ARMS)
    return ARMS[name]
