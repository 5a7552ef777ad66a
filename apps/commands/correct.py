"""`wovr correct RUN`: annotations and audit into a set of corrections for reward, world model and policy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from wovr_core.errors import WovrError


def add_commands(commands: Any, common: Any) -> None:
    parser = commands.add_parser(
        "correct",
        parents=[common],
        help="make a set of corrections from a run's annotations and its audit",
        description="Spans on imagined rollouts, by people or by the audit, become a new version of corrections under "
        "RUN/corrections: labelled frames of the reward, masks of the policy's loss, weighted samples of the world "
        "model. Nothing is changed in place. The audit's spans are added to the run's annotations first, where anybody "
        "may overrule them.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder, or a name below WOVR_HOME/runs")
    parser.add_argument("--no-audit", action="store_true", help="add no spans from the audit")
    parser.add_argument("--control", action="store_true", help="as many unflagged rollouts instead, drawn by --seed")
    parser.add_argument("--count", type=int, default=None, metavar="N", help="at most N flagged rollouts")
    parser.add_argument("--noise", type=float, default=0.0, metavar="SHARE", help="share of flags put in a wrong place")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="default: RUN/corrections")
    parser.add_argument("--rebuild", metavar="VERSION", help="make this version of RUN again, from its own record")
    parser.set_defaults(function=_correct)


def _correct(arguments: argparse.Namespace) -> int:
    from workbench.corrections import CorrectionsConfig, make, remake, source_of
    from workbench.flags import add_audit_flags, logged_flags
    from wovr_core.data.corrections import CorrectionSet
    from wovr_core.run_folder import require_run, resolve_run

    run = require_run(resolve_run(arguments.run))
    source = source_of(run)
    own = run / "corrections"
    parent = arguments.out or own
    if arguments.rebuild:
        made = remake(source, CorrectionSet(_version(own, arguments.rebuild)), parent)
        print(f"{made.version} is the same again: {made.folder}")
        return 0
    if arguments.count is not None and arguments.count < 1:
        raise WovrError(f"--count must be at least 1, not {arguments.count}")
    if not arguments.no_audit:
        added = add_audit_flags(run, source)
        print(f"{added} new spans from the audit")
    config = CorrectionsConfig(
        kind="control" if arguments.control else "flagged",
        count=arguments.count,
        noise=arguments.noise,
        seed=arguments.seed,
    )
    made = make(source, logged_flags(run, source), config, parent)
    for what, count in made.manifest["provenance"]["counts"].items():
        print(f"{what.replace('_', ' '):20s} {count:,}")
    print(f"{'bounded starts':20s} {len(made.horizons):,}")
    print(f"corrections {made.version}: {made.folder}")
    return 0


def _version(parent: Path, version: str) -> Path:
    from wovr_core.errors import UnknownNameError

    known = [path.parent.name for path in parent.glob("[!.]*/manifest.json")]
    if version not in known:
        raise UnknownNameError(f"version in {parent}:", version, known)
    return parent / version
