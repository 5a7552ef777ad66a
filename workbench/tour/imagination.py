"""The tour's first half: what a world model draws, how far it goes wrong, and how to know."""

from __future__ import annotations

import numpy as np

from workbench.tour.material import PAPER, Material, Missing, Step, bar, false_successes, pick, rate
from wovr_core.types import CHUNK


def drawing(m: Material) -> Step:
    """A world model draws what the camera would see."""
    quality = m.outputs("world_model")["quality"]
    real = sum((m.data.outputs(s) or {}).get("count", 0) for s in ("collect", "collect_base"))
    row = pick(m, (True, True), (False, False))
    per_second = quality["frames_per_second"]
    text = (
        f"From one picture and the robot's next {CHUNK} actions it draws the next {CHUNK} pictures, then goes on from "
        f"its own. It learned that from {real} real episodes, and draws {per_second:.0f} pictures a second on a "
        f"processor.",
        "Left: the simulator, executing exactly these actions. Right of it: what was imagined. Play it, and stop where "
        "the two part.",
    )
    return Step(
        "world-model",
        "A world model draws what the camera would see",
        text,
        {"kind": "scrubber", "rollout": row["rollout_id"]},
        "Let it play once without a word. Then ask: which of the two is the real one, and how can you tell?",
        (f"{PAPER}: the simulator, an action-conditioned video world model",),
        {"real": real, "per_second": per_second},
    )


def depth(m: Material) -> Step:
    """Its errors grow."""
    quality = m.outputs("world_model")["quality"]
    at, imagined = quality["horizons"], quality["psnr_moving"]
    frozen = quality["frozen_psnr_moving"]
    divergence = np.mean([row["divergence"] for row in m.all_rows], axis=0)
    last = len(divergence) - 1
    text = (
        f"Over the parts that move, it is right to {imagined[0]:.1f} dB after {at[0]} frames and to "
        f"{imagined[-1]:.1f} dB "
        f"after {at[-1]}. A picture in which nothing ever moves would reach {frozen[0]:.1f} and {frozen[-1]:.1f} dB.",
        f"Over all {len(m.all_rows)} audited rollouts, pictures differ from reality by "
        f"{divergence[min(8, last)]:.1f} grey "
        f"levels of 255 at frame {min(8, last)} and by {divergence[last]:.1f} at frame {last}. Move the slider.",
    )
    lines = [
        {"title": "mean difference, of 255", "values": [round(float(v), 3) for v in divergence], "tone": "divergence"}
    ]
    return Step(
        "depth",
        "It feeds on its own pictures, so errors add up",
        text,
        {"kind": "lines", "x": "imagined frame", "lines": lines, "start": min(8, last)},
        "Anchoring on the first frame and noise on the context are what keeps this curve from running away.",
        (f"{PAPER}: first-frame anchoring, noisy context",),
        {"first": imagined[0], "last": imagined[-1]},
    )


def judge(m: Material) -> Step:
    """A classifier says when the task is done."""
    found = m.outputs("reward")["calibration"]
    threshold = float(found["threshold"])
    curves = [
        {
            "id": name,
            "p": [round(float(p), 4) for p in rollout.p_success],
            "real": bool(next(r for r in m.rows if r["rollout_id"] == name)["real_success"]),
        }
        for name, rollout in m.rollouts.items()
    ]
    auroc = found["auroc"]
    held_out = found["successes"] + found["failures"]
    text = (
        f"Imagination needs a referee: a small network looks at one picture and says how likely the task is done. On "
        f"{held_out} episodes that it never saw, its area under the ROC curve is {auroc:.2f} (1 is perfect, 0.5 a "
        f"coin).",
        f"From a probability of {threshold:.2f} on, a picture counts as a success. Move the threshold: too low, and "
        "failures pass; too high, and nothing is ever done.",
    )
    return Step(
        "judge",
        "A classifier says when the task is done",
        text,
        {"kind": "threshold", "curves": curves, "threshold": threshold},
        "Ask for the threshold at which all curves that really succeeded pass and no other does. Often there is none.",
        (f"{PAPER}: the reward model",),
        {"threshold": threshold, "auroc": auroc},
    )


def audit(m: Material) -> Step:
    """The same actions, for real."""
    false, imagined = false_successes(m.all_rows)
    missed = sum(r["real_success"] and not r["imagined_success"] for r in m.all_rows)
    failures = len(m.all_rows) - imagined
    row = pick(m, (True, False), (False, True))
    kind = "a false success" if row["imagined_success"] and not row["real_success"] else "a missed one"
    shown = kind if row["imagined_success"] != row["real_success"] else "one on which both agree"
    text = (
        f"Every imagined success is a claim. Here all {len(m.all_rows)} rollouts were executed in the simulator, "
        f"action "
        f"for action, from the same instant. False among the imagined successes: {rate(false, imagined)}.",
        f"Real successes among the imagined failures: {rate(missed, failures)}. Shown here: {shown}.",
    )
    return Step(
        "audit",
        "Audit: execute the very same actions for real",
        text,
        {"kind": "scrubber", "rollout": row["rollout_id"]},
        "This is the number to ask of anybody who trains in a learned simulator. Its denominator is the imagined "
        "successes.",
        ("This workbench; the paper names hallucination as the problem and does not measure it so",),
        {"false": false, "imagined": imagined, "missed": missed, "failures": failures},
    )


def by_depth(m: Material) -> Step:
    """False successes by depth."""
    table = m.outputs("audit")["by_depth"]
    bars = [bar(f"{span} actions", k, n, "bad") for span, (k, n) in table.items()]
    if not bars:
        raise Missing("no imagined success")
    overlap = max(b["low"] for b in bars) <= min(b["high"] for b in bars)
    told = (
        "They overlap: what looks like a difference need not be one."
        if overlap and len(bars) > 1
        else "With more rollouts they would be shorter."
        if len(bars) == 1
        else "They do not all overlap: depth matters here."
    )
    parts = "; ".join(f"after {b['title']} {b['k']} of {b['n']}" for b in bars)
    text = (
        f"How far into imagination was the success? False successes by depth: {parts}.",
        f"The line on each bar is its 95 % interval. {told}",
    )
    return Step(
        "by-depth",
        "How deep can imagination be trusted?",
        text,
        {"kind": "bars", "bars": bars, "unit": "false among imagined successes"},
        "A good moment to talk about intervals: what would it take to tell the bars apart?",
        ("This workbench: audit by depth", "Wilson's interval"),
        {"bars": len(bars)},
    )
