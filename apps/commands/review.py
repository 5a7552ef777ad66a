"""`wovr review`: what is worth a look next, what is known about it, and how good the annotators are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.commands.indexing import up_to_date
from apps.commands.review_measure import add_verb
from wovr_core.errors import WovrError

if TYPE_CHECKING:
    from workbench.evidence.evidence import Evidence
    from workbench.review.quality import AnnotatorQuality, Quality


def add_commands(commands: Any, common: Any) -> None:
    review = commands.add_parser(
        "review",
        parents=[common],
        help="the review queue: what to look at next, the evidence, the annotators' quality",
        description="Imagined rollouts ranked by how much the audit, other seeds, the frames' divergence and the "
        "reward classifier's doubt speak against them. Reviews are kept in reviews.jsonl beside each run.",
    )
    verbs = review.add_subparsers(dest="verb", required=True, metavar="VERB")

    queue = verbs.add_parser("queue", parents=[common], help="the head of the queue, with reasons")
    queue.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
    queue.add_argument("--run", action="append", default=[], help="only this run's; may be repeated")
    queue.add_argument("--annotator", help="only what this annotator could be given")
    queue.add_argument("--json", action="store_true", help="print it as JSON")
    queue.set_defaults(function=_queue)

    evidence = verbs.add_parser("evidence", parents=[common], help="all that is known of one rollout")
    evidence.add_argument("rollout", metavar="ID", help="as `wovr review queue` prints it: run/stage/name")
    evidence.add_argument("--objects", action="store_true", help="measure the object-state error too (builds a scene)")
    evidence.add_argument("--json", action="store_true", help="print it as JSON, curves included")
    evidence.set_defaults(function=_evidence)

    add_verb(verbs, common)

    stats = verbs.add_parser("stats", parents=[common], help="each annotator's quality, and how far they agree")
    stats.add_argument("--json", action="store_true", help="print it as JSON")
    stats.set_defaults(function=_stats)

    examples = verbs.add_parser(
        "examples",
        parents=[common],
        help="cut the labelling guideline's example strips out of audited rollouts",
        description="Reads a list of examples (label, run, rollout, first and last frame, severity, by, why), such "
        "as the examples.json that ships, and writes it again beside one WebP strip for each, the span marked and what "
        "the audit measured filled in. Runs are looked up below WOVR_HOME/runs.",
    )
    examples.add_argument(
        "list", type=Path, metavar="LIST.json", help='{"schema": 1, "examples": [...], "missing": {}}'
    )
    examples.add_argument("--out", type=Path, required=True, metavar="DIR", help="where strips and list are written")
    examples.set_defaults(function=_examples)


def _queue(arguments: argparse.Namespace) -> int:
    from workbench.review.queue import ReviewQueue
    from workbench.review.ranking import QueueConfig

    if arguments.limit < 1:
        raise WovrError(f"--limit must be at least 1, not {arguments.limit}")
    queue = ReviewQueue(up_to_date().store, QueueConfig(runs=tuple(arguments.run)))
    head, progress = queue.head(arguments.limit, arguments.annotator), queue.progress()
    if arguments.json:
        print(json.dumps({"items": [entry.to_json() for entry in head], **progress}, indent=2))
        return 0
    for entry in head:
        print(f"{entry.score:.3f}  {entry.id}\n       {entry.reason}")
    print(f"{progress['open']:,} open ({progress['claimed']:,} in somebody's hands), {progress['done']:,} done")
    return 0


def _evidence(arguments: argparse.Namespace) -> int:
    from workbench.evidence.gather import evidence_of

    found = evidence_of(arguments.rollout, up_to_date().store, arguments.objects)
    if arguments.json:
        print(json.dumps(_evidence_json(found), indent=2))
        return 0
    step, real = found.imagined_step, found.real_success
    print(f"imagined       {'success' if found.imagined_success else 'failure'}" + (f" at {step}" if step else ""))
    if real is not None:
        print(f"really         {'success' if real else 'failure'}")
    if found.real is not None:
        print(f"beside it      {found.real.kind}: {found.real.path}, from frame {found.real.offset}")
    if found.divergence is not None:
        print(f"divergence     up to {found.divergence.max():.1f} at frame {found.divergence.argmax()}")
        print(f"first          {found.first_divergent if found.first_divergent is not None else 'none'} ({found.rule})")
    print(f"p success      up to {found.p_success.max():.2f}" + _of_threshold(found.reward_threshold))
    if found.seeds is not None:
        print(f"other seeds    disagree more than {100 * found.seeds['disagreement']:.0f} % of its run")
    if found.object_error is not None:
        for thing, excess in found.object_error.excess.items():
            print(f"{thing:14s} up to {excess:.1f} cm off, beyond what the probe errs on real frames")
    for what, why in found.missing.items():
        print(f"not known      {what.replace('_', ' ')}: {why}")
    return 0


def _stats(arguments: argparse.Namespace) -> int:
    from workbench.review.book import ReviewBook
    from workbench.review.quality import measure

    quality = measure(ReviewBook(up_to_date().store))
    if arguments.json:
        print(json.dumps(quality.to_json(), indent=2))
        return 0
    if not quality.annotators:
        print("nobody has handed in anything yet")
        return 0
    print(_table(quality))
    return 0


def _examples(arguments: argparse.Namespace) -> int:
    from workbench.review.make_examples import cut
    from workbench.review.shipped_examples import read_list, write
    from wovr_core.run_folder import resolve_run

    wanted, missing = read_list(arguments.list)
    made = {one.label: cut(resolve_run(one.run), one) for one in wanted}
    write(arguments.out, made, missing)
    for one, picture in made.values():
        print(f"{one.label:22s} {len(picture):6,} bytes  {one.run}/{one.rollout} frames {one.first}-{one.last}")
    for label, why in missing.items():
        print(f"{label:22s} none: {why}")
    return 0


def _table(quality: Quality) -> str:
    heads = ("annotator", "items", "skipped", "per hour", "gold", "gold F1", "kappa", "IoU", "overruled")
    rows = [heads, *(_cells(one) for one in quality.annotators)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for label, kappa in quality.by_label.items():
        lines.append(f"kappa of {label.replace('_', ' ')}: {_text(kappa.value)} ({kappa.items} items)")
    return "\n".join(lines)


def _cells(one: AnnotatorQuality) -> tuple[str, ...]:
    from wovr_core.statistics import format_rate

    kappa = one.agreement.kappa
    low, high = kappa.interval
    agreed = f"{_text(kappa.value)} [{low:.2f}, {high:.2f}] n={kappa.items}" if kappa.items else "-"
    return (
        one.annotator, str(one.items), str(one.skipped), _text(one.items_per_hour, 1),
        format_rate(one.gold.count, one.gold.total), _text(one.gold_f1), agreed, _text(one.agreement.iou),
        f"{one.overruled.count}/{one.overruled.total}",
    )  # fmt: skip


def _evidence_json(found: Evidence) -> dict[str, Any]:
    error = found.object_error
    return {
        "id": found.id,
        "imagined_success": found.imagined_success,
        "imagined_step": found.imagined_step,
        "real_success": found.real_success,
        "real": found.real and {**vars(found.real), "path": str(found.real.path)},
        "divergence": None if found.divergence is None else [round(float(v), 3) for v in found.divergence],
        "divergence_threshold": found.divergence_threshold,
        "first_divergent": found.first_divergent,
        "rule": found.rule,
        "p_success": [round(float(v), 4) for v in found.p_success],
        "reward_threshold": found.reward_threshold,
        "seeds": found.seeds and dict(found.seeds),
        "object_error": error and {"frames": error.frames, "imagined": error.imagined, "floor": error.floor},
        "missing": dict(found.missing),
    }


def _of_threshold(threshold: float | None) -> str:
    return "" if threshold is None else f", success from {threshold:.2f}"


def _text(value: float, digits: int = 2) -> str:
    return "-" if value != value else f"{value:.{digits}f}"
