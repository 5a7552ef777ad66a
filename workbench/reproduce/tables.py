"""The studies' rows as Markdown tables: no rate without its n and interval, no difference without its pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean

from workbench.reproduce.arms import ARMS, WORLD_MODELS
from workbench.reproduce.comparisons import describe_difference
from workbench.reproduce.results import Row
from wovr_core.audit.hallucination import SCORES
from wovr_core.statistics import (
    difference_interval,
    format_rate,
    proportion_interval,
)

LABELS = {
    "base": "SFT base",
    "grpo_online": "GRPO online, real simulator",
    "wmpo": "WMPO-like",
    "wovr": "WoVR",
    "without_kir": "without KIR",
    "without_mask": "without post-success mask",
    "without_pace": "without PACE",
    "without_anchor": "without anchor",
    "without_outcome": "without predicted outcome",
    "without_hold": "without hold",
    "without_correlation": "independent draws",
    "without_first_contact": "starts before every decision",
    "without_real": "without real episodes in RL",
    "none": "as it was",
    "control": "unflagged corrections (control)",
    "flagged": "flagged corrections",
    "flagged_10": "flagged corrections, 10 % of flags wrong",
    "flagged_30": "flagged corrections, 30 % of flags wrong",
}


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def arm_table(rows: Sequence[Row], arms: Sequence[str]) -> str:
    """One line per arm over all suites that it ran on, then each suite: rate with Wilson's interval, and the paired
    difference to the base policy with Newcombe's interval and McNemar's exact p."""
    suites = sorted({str(r["suite"]) for r in rows})
    present = [a for a in arms if any(r["arm"] == a for r in rows)]
    judged = any("false_successes" in r for r in rows)
    lines = []
    for suite in ["all", *suites] if len(suites) > 1 else suites:
        chosen = [r for r in rows if suite in ("all", r["suite"])]
        base = [r for r in chosen if r["arm"] == "base"]
        for arm in present:
            own = [r for r in chosen if r["arm"] == arm]
            if own:
                cells = [*_arm_cells(own, base, arm), *([_false_cell(own)] if judged else [])]
                lines.append([_scope(suite, own, suites), _label(arm), *cells])
    header = ["suite", "arm", "real success", "against the base, paired", "seeds", "real episodes a task", "minutes"]
    return table([*header, "false successes"] if judged else header, lines)


def rival_table(rows: Sequence[Row], rivals: Sequence[str], arm: str = "wovr") -> str:
    """`arm` against each rival on the trials that both ran: over all suites, then in each. Empty without any."""
    suites = sorted({str(r["suite"]) for r in rows})
    lines = []
    for rival in rivals:
        for suite in ["all", *suites] if len(suites) > 1 else suites:
            chosen = [r for r in rows if suite in ("all", r["suite"])]
            theirs, ours = ([r for r in chosen if r["arm"] == a] for a in (rival, arm))
            shared = set(map(_run, theirs)) & set(map(_run, ours))
            theirs, ours = ([r for r in own if _run(r) in shared] for own in (theirs, ours))
            if shared:
                rates = [_rate(own) for own in (theirs, ours)]
                lines.append([_label(rival), _scope(suite, ours, suites), *rates, describe_difference(theirs, ours)])
    name = LABELS[arm]
    return table([f"{name} against", "suite", "the rival", name, "difference, paired"], lines) if lines else ""


def _run(row: Row) -> tuple[str, int, int]:
    return str(row["suite"]), int(row["task"]), int(row["seed"])


def _scope(suite: str, own: Sequence[Row], suites: Sequence[str]) -> str:
    """ "all", or "2 of 3 suites" where an arm was not run on all of them."""
    ran = len({r["suite"] for r in own})
    return suite if suite != "all" or ran == len(suites) else f"{ran} of {len(suites)} suites"


def _rate(rows: Sequence[Row]) -> str:
    return format_rate(sum(r["successes"] for r in rows), sum(r["trials"] for r in rows))


def _arm_cells(own: Sequence[Row], base: Sequence[Row], arm: str) -> list[str]:
    difference = "-" if arm == "base" else describe_difference(base, own)
    runs = {(r["suite"], r["seed"]): r["minutes"] for r in own}
    return [
        _rate(own),
        difference,
        str(len({r["seed"] for r in own})),
        f"{mean(r['real_episodes'] for r in own):.0f}",
        f"{mean(runs.values()):.0f}",
    ]


def _false_cell(own: Sequence[Row]) -> str:
    audited = [r for r in own if "false_successes" in r]
    if not audited:
        return "-"
    return format_rate(sum(r["false_successes"] for r in audited), sum(r["imagined_successes"] for r in audited))


def _label(arm: str) -> str:
    switches = ARMS[arm].switches if arm in ARMS else ""
    return LABELS.get(arm, arm) + (f" ({switches})" if arm == "wmpo" else "")


def task_table(rows: Sequence[Row], arms: Sequence[str]) -> str:
    """Success per task and arm, over seeds, with Clopper and Pearson's intervals."""
    present = [a for a in arms if any(r["arm"] == a for r in rows)]
    lines = []
    for suite, task in sorted({(r["suite"], r["task"]) for r in rows}):
        cells = []
        for arm in present:
            own = [r for r in rows if (r["suite"], r["task"], r["arm"]) == (suite, task, arm)]
            cells.append(_exact(sum(r["successes"] for r in own), sum(r["trials"] for r in own)))
        lines.append([f"{suite}/{task}", *cells])
    return table(["task", *(LABELS.get(a, a) for a in present)], lines)


def _exact(k: int, n: int) -> str:
    if not n:
        return "-"
    low, high = proportion_interval(k, n, "exact")
    return f"{k}/{n} [{100 * low:.0f}, {100 * high:.0f}]"


QUALITY = {
    "psnr": ("PSNR (dB)", 1),
    "psnr_moving": ("of what moves (dB)", 1),
    "ssim": ("SSIM", 3),
    "random_feature_distance": ("random-feature distance", 3),
    "flow_error": ("flow error (px)", 2),
    "gripper_error_cm": ("gripper (cm)", 1),
    "object_error_cm": ("object (cm)", 1),
}


def world_model_table(rows: Sequence[Row]) -> str:
    """Means over suites and seeds, each measure at all horizons: "64 / 128 / 256 / 512"."""
    horizons = sorted({int(r["horizon"]) for r in rows})
    lines = []
    for variant in [v for v in WORLD_MODELS if any(r["variant"] == v for r in rows)]:
        own = [r for r in rows if r["variant"] == variant]
        cells = [
            " / ".join(_mean([r.get(key) for r in own if r["horizon"] == h], digits) for h in horizons)
            for key, (_, digits) in QUALITY.items()
        ]
        episodes = " / ".join(str(sum(int(r["episodes"]) for r in own if r["horizon"] == h)) for h in horizons)
        fps = _mean([r["frames_per_second"] for r in own], 0)
        lines.append([variant.replace("_", " "), *cells, fps, episodes])
    marks = " / ".join(str(h) for h in horizons)
    names = [name for name, _ in QUALITY.values()]
    floor = "; ".join(
        f"{thing}: probe on real frames {_mean([r.get(f'{thing}_floor_cm') for r in rows], 1)} cm, "
        f"if nothing moved {_mean([r.get(f'{thing}_still_cm') for r in rows], 1)} cm"
        for thing in ("gripper", "object")
    )
    return table(["world model", *names, "frames/s", "episodes"], lines) + f"\n\nAt {marks} frames. {floor}."


def _mean(values: Iterable[float | None], digits: int) -> str:
    known = [v for v in values if v is not None]
    return f"{mean(known):.{digits}f}" if known else "-"


def hallucination_table(rows: Sequence[Row]) -> str:
    """Area under the ROC curve of each score, per suite and seed."""
    lines = []
    for suite, seed in sorted({(r["suite"], r["seed"]) for r in rows}):
        for score in SCORES:
            for r in rows:
                if (r["suite"], r["seed"], r["score"]) == (suite, seed, score):
                    cells = [_area(r["false_success"]), _area(r["wrong_outcome"])]
                    lines.append([suite, str(seed), score.replace("_", " "), *cells, _against(r["against"])])
    header = ["suite", "seed", "score", "false successes", "wrong outcomes", "disagreement minus this"]
    return table(header, lines)


def agreement_table(rows: Sequence[Row]) -> str:
    """Correlations within groups of siblings, per suite, seed and training length."""
    lines = []
    for r in sorted(rows, key=lambda r: (r["suite"], r["seed"], r["world_model_steps"])):
        found = [_correlation(r[key]) for key in ("imagined_lifted", "imagined_promised", "promised_lifted")]
        lifted, total = r["lifted"]
        share = f"{lifted}/{total}"
        lines.append([r["suite"], str(r["seed"]), f"{r['world_model_steps']:,}", *found, share])
    header = [
        "suite", "seed", "world model's steps", "imagined return and lifted for real",
        "imagined return and real last frame's promise", "that promise and lifted for real", "lifted",
    ]  # fmt: skip
    return table(header, lines)


def _correlation(found: Mapping[str, object]) -> str:
    value, interval = found["value"], found["interval"]
    if not isinstance(value, float | int) or not isinstance(interval, list | tuple):
        return "-"
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _area(found: Mapping[str, object]) -> str:
    value, interval = found["value"], found["interval"]
    counts = f"({found['positives']} + {found['negatives']})"
    if not isinstance(value, float | int) or not isinstance(interval, list | tuple):
        return f"- {counts}"
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}] {counts}"


def _against(found: Sequence[float | None] | None) -> str:
    difference, low, high = found or (None, None, None)
    if difference is None or low is None or high is None:
        return "-"
    return f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"


CORRECTION_ORDER = ("none", "control", "flagged", "flagged_10", "flagged_30")


def corrections_table(rows: Sequence[Row]) -> str:
    """False and real successes before and per arm, each arm against the control; then what was measured on held-out
    rollouts."""
    present = [a for a in CORRECTION_ORDER if any(r["arm"] == a for r in rows)]
    control = [r for r in rows if r["arm"] == "control"]
    lines = _before_line(rows)
    for arm in present:
        own = [r for r in rows if r["arm"] == arm]
        judged = bool(control) and arm != "control"
        lines.append(
            [
                _label(arm),
                format_rate(*_false(own)),
                _false_difference(control, own) if judged else "-",
                format_rate(sum(r["successes"] for r in own), sum(r["trials"] for r in own)),
                describe_difference(control, own) if judged else "-",
                str(len({(r.get("suite"), r["task"], r["seed"]) for r in own})),
            ]
        )
    header = ["corrections", "false successes", "against the control"]
    header += ["real success", "against the control, paired", "tasks and seeds"]
    return table(header, lines) + _held_out_table(rows, present)


def _before_line(rows: Sequence[Row]) -> list[list[str]]:
    """What all arms started from, once per suite, task and seed; nothing where it was not judged."""
    # All arms tell the same of it.
    before = list({(r.get("suite"), r["task"], r["seed"]): r for r in rows if "before_trials" in r}.values())
    if not before:
        return []
    false, imagined, successes, trials = (
        sum(r[f"before_{key}"] for r in before)
        for key in ("false_successes", "imagined_successes", "successes", "trials")
    )
    rates = [format_rate(false, imagined), "-", format_rate(successes, trials), "-"]
    return [["before this round", *rates, str(len(before))]]


def _false(rows: Sequence[Row]) -> tuple[int, int]:
    return sum(r["false_successes"] for r in rows), sum(r["imagined_successes"] for r in rows)


def _false_difference(control: Sequence[Row], own: Sequence[Row]) -> str:
    """ "-21 points [-28, -13], 0.55 times": Newcombe's interval of the difference, and the ratio of the rates."""
    (k, n), (m, o) = _false(control), _false(own)
    if not n or not o:
        return "-"
    low, high = difference_interval((k, n), (m, o))
    ratio = f", {m * n / (o * k):.2f} times" if k else ""
    return f"{100 * (m / o - k / n):+.0f} points [{100 * low:+.0f}, {100 * high:+.0f}]{ratio}"


def _held_out_table(rows: Sequence[Row], present: Sequence[str]) -> str:
    """On audited rollouts that nothing was learned from: means and sums over suites and seeds."""
    lines = []
    for arm in present:
        told = [r for r in rows if r["arm"] == arm and "arm_as_a_whole" in r]
        # One model learns a suite's tasks: their rows all tell of it.
        own = list({(r.get("suite"), r["seed"]): r["arm_as_a_whole"] for r in told}.values())
        if own:
            counts = [
                _summed(r[key] for r in own)
                for key in ("still_false", "reward_false_positives", "reward_true_positives")
            ]
            lines.append(
                [
                    _label(arm),
                    str(sum(r["corrected"] for r in own)),
                    f"{sum(r['real_episodes'] for r in told)} ({sum(r['audited_to_flag'] for r in told)})",
                    _mean([r["world_model_error"] for r in own], 1),
                    counts[0],
                    _mean([r["reward_auroc"] for r in own], 3),
                    *counts[1:],
                    f"{sum(r['annotator_minutes'] for r in own):.0f}",
                ]
            )
    if not lines:
        return ""
    header = ["corrections", "corrected rollouts", "real replays learned (audited to find them)"]
    header += ["world-model error (of 255)", "imagined as success again"]
    header += ["reward AUROC", "false positives", "true positives", "annotator's minutes (estimated)"]
    return f"\n\nOn held-out flagged situations and rollouts:\n\n{table(header, lines)}"


def _summed(pairs: Iterable[Sequence[int]]) -> str:
    counts = list(pairs)
    return format_rate(sum(k for k, _ in counts), sum(n for _, n in counts))
