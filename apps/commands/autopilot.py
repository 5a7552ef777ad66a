"""`wovr autopilot RUN`: rounds of practice in imagination, refined for real when policy and world model drift apart."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any, common: Any) -> None:
    parser = commands.add_parser(
        "autopilot",
        parents=[common],
        help="go on from a finished run: practise, and refine the world model when drift calls for it",
        description="Each round practises in imagination, measures how far the policy's actions and the world model's "
        "error have drifted since the last refinement, and refines on real episodes when it is time and the budget "
        "allows; a refined model that is no better on held-out episodes is rolled back. Every round is a line of "
        "RUN/autopilot.jsonl; RUN/autopilot.html shows the versions. The same command goes on where it stopped.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a name below WOVR_HOME/runs")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in all (default: 3)")
    parser.add_argument("--budget", type=int, default=60, metavar="N", help="real episodes in all (default: 60)")
    parser.add_argument(
        "--probe-episodes", type=int, default=2, metavar="N", help="a task, to see the error (default: 2)"
    )
    parser.add_argument(
        "--probe-drift", type=float, default=0.02, help="nats per token from which to look at the error"
    )
    parser.add_argument("--drift", type=float, default=0.2, help="nats per token from which to refine in any case")
    parser.add_argument("--error-growth", type=float, default=1.15, help="growth of the error from which to refine")
    parser.set_defaults(function=_autopilot)


def _autopilot(arguments: argparse.Namespace) -> int:
    from workbench.pace_plot import lineage_figure
    from workbench.run_data import RunData
    from wovr_core.coevolution.autopilot import AutopilotConfig, Ledger
    from wovr_core.config import from_dict
    from wovr_core.envs import gl
    from wovr_core.envs.pool import EnvPool
    from wovr_core.errors import WovrError
    from wovr_core.files import write_bytes
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.pace_loop import LEDGER, autopilot
    from wovr_core.recipes import Recipe
    from wovr_core.run_folder import Run, resolve_run

    if arguments.rounds < 1 or arguments.probe_episodes < 1:
        raise WovrError("--rounds and --probe-episodes must be at least 1")
    config = AutopilotConfig(
        budget=arguments.budget,
        probe_drift=arguments.probe_drift,
        drift=arguments.drift,
        error_growth=arguments.error_growth,
    )
    path = resolve_run(arguments.run)
    recipe = from_dict(Recipe, RunData(path).description["config"], str(path / "run.json"))
    gl.prepare()
    with polite_interrupts(), EnvPool(workers=recipe.workers) as pool, Run(path, recipe) as run:
        for entry in autopilot(run, recipe, config, arguments.rounds, pool, arguments.probe_episodes):
            promoted = [kind.replace("_", " ") for kind, kept in entry["promoted"].items() if kept]
            result = f"; promoted: {', '.join(promoted) or 'nothing'}" if entry["candidates"] else ""
            print(
                f"round {entry['round']}: {entry['action']} ({entry['reason']}){result}; {entry['spent']} real episodes"
            )
            figure = lineage_figure(Ledger(path / LEDGER).entries())
            write_bytes(path / "autopilot.html", figure.to_html(include_plotlyjs=True).encode())
    print(f"{path / LEDGER}\n{path / 'autopilot.html'}")
    return 0
