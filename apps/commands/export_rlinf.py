"""`wovr export rlinf`: its flags, and what it answers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from apps.parsing import add_assignments
from wovr_core.errors import WovrError


def add_flags(parser: Any) -> None:
    """Those of `wovr export` that only RLinf's format knows."""
    rlinf = parser.add_argument_group("rlinf")
    rlinf.add_argument("--envs", type=int, default=8, help="parallel environments it is for (default: 8)")
    rlinf.add_argument("--group", type=int, default=8, help="rollouts of one start that are compared (default: 8)")
    rlinf.add_argument("--size", type=int, default=256, help="height and width of pictures (default: 256)")
    rlinf.add_argument("--policy", default="openvla-oft", help="OpenVLA-OFT checkpoint on RLinf's machine")
    rlinf.add_argument("--folder", default="", help="where RLinf's machine will have the folder (default: --out)")
    rlinf.add_argument("--world-model", type=Path, default=None, metavar="CHECKPOINT",
                       help="in place of the one that the run goes on with")  # fmt: skip
    rlinf.add_argument("--any-size", action="store_true", help="although RLinf reads only the published size")
    rlinf.add_argument("--reward", type=Path, default=None, metavar="FILE", help="an RLinf reward model (.pth)")
    rlinf.add_argument(
        "--train-reward", action="store_true", help="train one on the run's episodes, in RUN/rlinf_reward"
    )
    rlinf.add_argument(
        "--own-reward",
        action="store_true",
        help="the run's own classifier: train one to say what it says, of real and of imagined pictures, in "
        "RUN/rlinf_reward_own",
    )
    add_assignments(rlinf, "change its training, e.g. steps=900", option="--reward-set")


def export(arguments: argparse.Namespace, run: Path, episodes: Path, out: Path) -> int:
    """Write the folder and say what is in it; 1 if RLinf still lacks something."""
    from apps import rlinf_export
    from wovr_core.interrupts import polite_interrupts

    config = rlinf_export.RLinfExportConfig(
        environments=arguments.envs,
        group_size=arguments.group,
        size=arguments.size,
        policy=arguments.policy,
        folder=arguments.folder,
        world_model=arguments.world_model,
        reward=arguments.reward,
        any_size=arguments.any_size,
    )
    trains = arguments.train_reward or arguments.own_reward
    if arguments.assignments and not trains:
        raise WovrError("--reward-set changes the training that --train-reward or --own-reward asks for")
    if bool(arguments.reward) + arguments.train_reward + arguments.own_reward > 1:
        raise WovrError("--reward gives a reward model, --train-reward and --own-reward each make one: say one of them")
    with polite_interrupts():
        if trains:
            made = rlinf_export.train_reward(run, arguments.size, arguments.assignments, own=arguments.own_reward)
            config = replace(config, reward=made)
        found = rlinf_export.write(run, episodes, out, config)
    print(f"{found.plain} first frames and {found.keyframes} keyframe starts in {out / 'dataset'}")
    for name in found.files:
        print(out / name)
    for line in found.notes:
        print(line)
    for line in found.missing:
        print(f"MISSING {line}")
    if not found.missing:
        print("Complete: give RLinf's run_embodiment.sh the configuration.")
    return 1 if found.missing else 0
