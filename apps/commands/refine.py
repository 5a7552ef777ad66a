"""`wovr refine RUN --corrections VERSION`: a run's world model and reward, refined with what people flagged."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any, common: Any) -> None:
    parser = commands.add_parser(
        "refine",
        parents=[common],
        help="refine a run's world model and reward with a version of corrections",
        description="One more refinement of a finished run, in RUN/refine_VERSION: from the models it ended with, on "
        "the episodes of its own refinement and the corrections beside them. It goes on where it stopped; nothing that "
        "was there is changed.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a name below WOVR_HOME/runs")
    parser.add_argument("--corrections", required=True, metavar="VERSION", help="as `wovr correct RUN` printed it")
    parser.set_defaults(function=_refine)


def _refine(arguments: argparse.Namespace) -> int:
    from workbench.retrain import refine
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.run_folder import require_run, resolve_run

    with polite_interrupts():
        outputs = refine(require_run(resolve_run(arguments.run)), arguments.corrections)
    promotions = {"world model": outputs.world_model_promoted, "reward": outputs.reward_promoted}
    for what, promoted in promotions.items():
        found = "better on held-out episodes" if promoted else "not better on held-out episodes: kept apart"
        print(f"{what:20s} {found}")
    for name, before in outputs.before.items():
        print(f"{name.replace('_', ' '):20s} {before:.3f} before, {outputs.after[name]:.3f} after")
    return 0
