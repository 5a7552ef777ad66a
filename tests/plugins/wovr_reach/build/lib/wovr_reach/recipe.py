"""A recipe: the whole loop on the reaching task, in about a minute."""

from __future__ import annotations

from dataclasses import replace

from wovr_core import recipes
from wovr_reach.environment import ReachConfig
from wovr_reach.policy import PatchesConfig


def reach() -> recipes.Recipe:
    """The whole loop on a drawn reaching task, with a policy of this package."""
    small = recipes.smoke()
    return replace(
        small,
        name="reach",
        env=ReachConfig(size=32),
        collect=replace(small.collect, clean=8, faulty=2),
        sft=replace(small.sft, policy=PatchesConfig(), demonstrations=8, steps=150, batch=32),
        keyframes=replace(small.keyframes, count=4),
        evaluate=replace(small.evaluate, trials=4),
    )
