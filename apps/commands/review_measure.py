"""`wovr review measure RUN`: the evidence that takes time, gathered for a whole run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_verb(verbs: Any, common: Any) -> None:
    """Add it to the verbs of `wovr review`."""
    parser = verbs.add_parser(
        "measure",
        parents=[common],
        help="imagine a run's rollouts again with other seeds, for the queue; with --objects see where things are",
        description="Two stages that the main job leaves out, in RUN/hallucination and RUN/probe. The first imagines "
        "each audited rollout again with other noise and other weights: where imaginations disagree, the queue ranks "
        "the rollout higher. The second trains a network that reads off pictures where gripper and object are, which "
        "`wovr review evidence ID --objects` uses. A stage that is finished is not made again.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a name below WOVR_HOME/runs")
    parser.add_argument("--objects", action="store_true", help="train the position probe too (builds scenes)")
    parser.set_defaults(function=_measure)


def _measure(arguments: argparse.Namespace) -> int:
    from workbench.evidence.measuring import measure_disagreement, recipe_of, train_position_probe
    from wovr_core.envs import gl
    from wovr_core.envs.pool import EnvPool
    from wovr_core.files import read_json
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.run_folder import resolve_run

    run = resolve_run(arguments.run)
    with polite_interrupts():
        scored = measure_disagreement(run)
        print(f"{len(read_json(Path(scored.rows)))} rollouts imagined again: {scored.rows}")
        area = scored.false_success["disagreement"]["value"]
        told = "cannot be told: too few of either" if area is None else f"{area:.2f}"
        print(f"area under the curve for false among imagined successes: {told}")
        if arguments.objects:
            gl.prepare()
            with EnvPool(workers=recipe_of(run).workers) as pool:
                probe = train_position_probe(run, pool)
            errors = ", ".join(f"{thing} {error:.1f} cm" for thing, error in probe.error_cm.items())
            print(f"the probe errs on real frames by: {errors}")
    return 0
