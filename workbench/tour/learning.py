"""The tour's second half: learning inside the world model, and whether it paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.tour.material import PAPER, Material, Step, bar, rate, siblings
from wovr_core.audit.outcomes import imagined_success_step
from wovr_core.statistics import compare_paired


def keyframes(m: Material) -> Step:
    """KIR: begin where it matters."""
    reasons = m.outputs("keyframes")["reasons"]
    total = sum(reasons.values())
    initial = reasons.get("initial", 0)
    failed = m.outputs("keyframes")["from_failures"]
    names = {
        "initial": "the episode's beginning",
        "contact": "the gripper closes",
        "release": "the gripper opens",
        "before_failure": "before a failure's end",
        "divergence": "imagination leaves reality",
    }
    bars = [{"title": names.get(k, k), "k": v, "n": total, "tone": "accent"} for k, v in sorted(reasons.items())]
    text = (
        f"Errors add up, so a rollout should be short where it matters. Of {total} starts only {initial} are an "
        f"episode's "
        f"beginning; {total - initial} lie a little before something decisive.",
        f"{failed} of them come from episodes that failed: that is where there is something to learn.",
    )
    return Step(
        "keyframes",
        "Begin near the decisive moment",
        text,
        {"kind": "bars", "bars": bars, "unit": "starts"},
        "From here to the contact it is a few chunks instead of ten: compare with the curve of errors.",
        (f"{PAPER}: keyframe-initialised rollouts (KIR)",),
        {"total": total, "initial": initial},
    )


def group(m: Material) -> Step:
    """GRPO compares siblings."""
    members = siblings(m)
    discount = float(m.config("imagine", "discount"))
    rewards = [r.reward for r in members]
    mean = float(np.mean(rewards))
    rows = [
        {
            "id": r.id,
            "step": imagined_success_step(r),
            "actions": len(r.actions),
            "reward": round(r.reward, 4),
            "advantage": round(r.reward - mean, 4),
        }
        for r in members
    ]
    informative = {s: m.data.outputs(s) for s in ("rl", "rl_evolved")}
    shares = [f"{o['informative_groups']} of {o['groups']}" for o in informative.values() if o]
    text = (
        f"{len(members)} rollouts from one start, the same policy, other samples. Each earns {discount:g} to the "
        f"power of "
        f"the steps before its first success, or nothing. What counts is the difference from the group's mean, "
        f"{mean:.2f}.",
        f"A group whose siblings all end alike teaches nothing. In this run {' and '.join(shares)} groups of the "
        f"two rounds "
        "of learning had something to say. Move the discount.",
    )
    return Step(
        "grpo",
        "Siblings are compared with one another",
        text,
        {"kind": "group", "rows": rows, "discount": discount},
        "No critic, no value network: the group's mean is the baseline.",
        (f"{PAPER}: GRPO in imagination",),
        {"mean": mean},
    )


def mask(m: Material) -> Step:
    """What follows a success does not count."""
    members = siblings(m)
    strips = [
        {
            "id": r.id,
            "mask": [bool(v) for v in r.loss_mask.reshape(-1)],
            "p": [round(float(p), 4) for p in r.p_success],
            "threshold": float(r.info["success_threshold"]),
        }
        for r in members
    ]
    counted = sum(int(r.loss_mask.sum()) for r in members)
    total = sum(r.loss_mask.size for r in members)
    text = (
        f"A rollout goes on after its success, but what happens then is nobody's merit. Of these {len(members)} "
        f"siblings' "
        f"{total} actions, {counted} count in the loss: those up to and including the first success.",
        "Each rollout is then weighed by the number of its own actions that count, so that a quick success is not "
        "drowned "
        "by a slow one. Move through the actions.",
    )
    return Step(
        "mask",
        "What follows a success does not count",
        text,
        {"kind": "mask", "strips": strips},
        "Without the mask the policy is taught what it did while waiting for the episode to end.",
        (f"{PAPER}: masked GRPO",),
        {"counted": counted, "total": total},
    )


def pace(m: Material) -> Step:
    """The world model follows the policy."""
    found = m.outputs("refine")
    before, after = found["before"], found["after"]
    names = {
        "world_model_error": "world model: error over what moves, of 255",
        "reward_log_loss": "classifier: log loss",
    }
    promoted = {"world_model_error": found["world_model_promoted"], "reward_log_loss": found["reward_promoted"]}
    rows = [
        [names[k], f"{before[k]:.3f}", f"{after[k]:.3f}", "promoted" if promoted[k] else "rolled back"] for k in names
    ]
    words = [
        f"the {'world model' if k == 'world_model_error' else 'classifier'} went from {before[k]:.3f} to "
        f"{after[k]:.3f} "
        f"and was {'promoted' if promoted[k] else 'rolled back'}"
        for k in names
    ]
    text = (
        f"A policy that has changed meets what its world model has never seen. {found['real_episodes']} real "
        f"episodes of "
        "the new policy refine it; some are held out to decide whether it became better.",
        f"In this run {words[0]}; {words[1]}.",
    )
    return Step(
        "pace",
        "The world model follows the policy",
        text,
        {"kind": "table", "head": ["", "before", "after", ""], "rows": rows},
        "Refinement that makes things worse happens. What matters is that it is measured, and taken back.",
        (f"{PAPER}: PACE",),
        {"real": found["real_episodes"]},
    )


def paid(m: Material) -> Step:
    """Did it pay?"""
    before, after = m.outputs("evaluate_base"), m.outputs("evaluate")
    pairs = compare_paired(_flat(before["outcomes"]), _flat(after["outcomes"]))
    bars = [
        bar("base policy", before["successes"], before["trials"], "muted"),
        bar("after learning in imagination", after["successes"], after["trials"], "accent"),
    ]
    text = (
        f"Real success, on initial states that training never saw: before "
        f"{rate(before['successes'], before['trials'])}, "
        f"after {rate(after['successes'], after['trials'])}.",
        f"The same states, paired: p = {pairs.p_value:.2f} by McNemar's exact test. Move the number of trials to "
        f"see how "
        "many it would take to be sure of such a difference.",
    )
    return Step(
        "paid",
        "Did it pay? Ask how sure we are",
        text,
        {"kind": "trials", "bars": bars},
        "If the intervals overlap, say so: that is what an honest result of this size looks like.",
        ("LIBERO's own initial states", "Wilson's interval", "McNemar's exact test"),
        {"before": before["successes"], "after": after["successes"]},
    )


def _flat(outcomes: Mapping[str, Sequence[bool]]) -> list[bool]:
    return [bool(v) for task in sorted(outcomes) for v in outcomes[task]]
