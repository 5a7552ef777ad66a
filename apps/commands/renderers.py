"""`wovr compare-renderers`: does a policy succeed as often on fast pictures as on stock ones?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EVALUATION_STATES = 50


def add_commands(commands: Any, common: Any) -> None:
    """Add `compare-renderers` to the parsers."""
    parser = commands.add_parser(
        "compare-renderers",
        parents=[common],
        help="evaluate a run's policy under both renderers, from the same states, and test the difference",
        description="Runs the policy from LIBERO's evaluation states once on pictures of the fast profile and once on "
        "stock ones, everything else (physics, seeds of sampling) being equal, and does McNemar's exact test over "
        "the pairs. Episodes are kept below the run's folder: the same command goes on where it stopped.",
    )
    parser.add_argument("--run", default="demo", help="name or folder of the run (default: demo)")
    parser.add_argument("--policy", default="sft", help="stage of the run whose policy it is (default: sft)")
    parser.add_argument(
        "--trials", type=int, default=EVALUATION_STATES, help="evaluation states a task, at most 50 (default: 50)"
    )
    parser.add_argument(
        "--temperature", type=float, default=None, help="of the policy's sampling (default: the run's own)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.set_defaults(function=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from wovr_core.envs.libero_render import Profile
    from wovr_core.envs.pool import EnvPool
    from wovr_core.errors import WovrError
    from wovr_core.files import read_json, write_json
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.run_folder import require_run, resolve_run
    from wovr_core.statistics import compare_paired, format_rate

    run = require_run(resolve_run(arguments.run))
    policy = run / arguments.policy / "policy"
    if not policy.is_dir():
        having = sorted(path.parent.name for path in run.glob("*/policy"))
        raise WovrError(f"{run} holds no policy of a stage {arguments.policy!r}; it has {', '.join(having) or 'none'}")
    if not 1 <= arguments.trials <= EVALUATION_STATES:
        raise WovrError(f"--trials {arguments.trials} is out of range; 1 to {EVALUATION_STATES} evaluation states")
    recipe = read_json(run / "run.json")["config"]
    profiles: tuple[Profile, Profile] = ("reference", "fast")
    out = run / "renderers" / f"{arguments.policy}-{arguments.trials}"
    outcomes: dict[str, list[bool]] = {}
    with polite_interrupts(), EnvPool(arguments.workers) as pool:
        for profile in profiles:
            outcomes[profile] = _evaluate(recipe, profile, policy, arguments, out / profile, pool)
            print(f"{profile:10s} {format_rate(sum(outcomes[profile]), len(outcomes[profile]))}", flush=True)
    pairs = compare_paired(outcomes["reference"], outcomes["fast"])
    print(f"both {pairs.both}, only reference {pairs.only_first}, only fast {pairs.only_second}, none {pairs.neither}")
    print(f"fast minus reference: {pairs} (McNemar's exact test)")
    write_json(out / "pairs.json", {"outcomes": outcomes, "difference": pairs.difference, "p_value": pairs.p_value})
    return 0


def _evaluate(
    recipe: dict[str, Any], profile: Any, policy: Path, arguments: argparse.Namespace, out: Path, pool: Any
) -> list[bool]:
    """Outcome of each trial, in one order for both profiles."""
    from dataclasses import replace

    from wovr_core.config import from_dict
    from wovr_core.envs.libero import LiberoConfig
    from wovr_core.stages import evaluate

    env = replace(from_dict(LiberoConfig, recipe["env"], "the run's env"), profile=profile)
    config = from_dict(evaluate.EvaluateConfig, recipe["evaluate"], "the run's evaluate")
    temperature = config.temperature if arguments.temperature is None else arguments.temperature
    config = replace(config, trials=arguments.trials, temperature=temperature)
    inputs = evaluate.EvaluateInputs(env, tuple(recipe["tasks"]), policy, int(recipe["seed"]), pool)
    found = evaluate.run(config, inputs, out)
    return [outcome for task in sorted(found.outcomes, key=int) for outcome in found.outcomes[task]]
