"""The evidence beside an item on the Review page: rows of short texts, each of which may lead to a frame."""

from __future__ import annotations

from typing import Any

from workbench.evidence.evidence import Evidence

_POINTS = 160
"""A curve is drawn with at most so many points, each the greatest of its stretch."""


def sheet(evidence: Evidence, reason: str) -> dict[str, Any]:
    """{reason, groups: [{title, rows: [{label, value, tone, frame}]}], curve, missing: [text]}: texts, no markup.

    curve is {frames, points: [[frame, divergence]], threshold, first}, or None where nothing real is beside it.
    """
    groups = [
        {"title": "outcome", "rows": _outcome(evidence)},
        {"title": "imagined against real", "rows": _divergence(evidence)},
        {"title": "signs", "rows": _signs(evidence)},
    ]
    return {
        "reason": reason,
        "groups": [group for group in groups if group["rows"]],
        "curve": _curve(evidence),
        "missing": [f"{what.replace('_', ' ')}: {why}" for what, why in evidence.missing.items()],
    }


def _outcome(evidence: Evidence) -> list[dict[str, Any]]:
    step = evidence.imagined_step
    imagined = "no success" if not evidence.imagined_success else f"success at {step}" if step else "success"
    rows = [_row("imagined", imagined, frame=step)]
    real = evidence.real_success
    if real is None:
        return [*rows, _row("really", "not known: not replayed")]
    rows.append(_row("really", "success" if real else "no success", "good" if real else "warn"))
    if real != evidence.imagined_success:
        rows.append(_row("audit", "missed success" if real else "false success", "bad"))
    else:
        rows.append(_row("audit", "confirmed", "good"))
    return rows


def _divergence(evidence: Evidence) -> list[dict[str, Any]]:
    if evidence.divergence is None or not len(evidence.divergence):
        return []
    peak = int(evidence.divergence.argmax())
    first = evidence.first_divergent
    rows = [_row("peak difference", f"{evidence.divergence[peak]:.1f} of 255", frame=peak)]
    rows.append(
        _row(
            f"first ≥ {evidence.divergence_threshold:g}",
            "none" if first is None else f"frame {first}",
            "" if first is None else "warn",
            first,
        )
    )
    if evidence.real is not None:
        rows.append(
            _row("beside it", "replay of its actions" if evidence.real.kind == "replay" else "recorded episode")
        )
    return rows


def _signs(evidence: Evidence) -> list[dict[str, Any]]:
    rows = []
    if len(evidence.p_success):
        peak = int(evidence.p_success.argmax())
        threshold = "" if evidence.reward_threshold is None else f" / {evidence.reward_threshold:.2f}"
        rows.append(_row("p success, max", f"{evidence.p_success[peak]:.2f}{threshold}", frame=peak))
    if evidence.seeds is not None:
        rank = evidence.seeds["disagreement"]
        tone = "warn" if rank >= 0.75 else ""
        rows.append(_row("seeds disagree", f"more than {100 * rank:.0f} % of its run", tone))
    if evidence.object_error is not None:
        for thing, excess in evidence.object_error.excess.items():
            rows.append(_row(thing, f"{excess:.1f} cm off", "warn" if excess > 2 else ""))
    return rows


def _curve(evidence: Evidence) -> dict[str, Any] | None:
    values = evidence.divergence
    if values is None or not len(values):
        return None
    step = max(1, -(-len(values) // _POINTS))
    points = []
    for begin in range(0, len(values), step):
        at = begin + int(values[begin : begin + step].argmax())
        points.append([at, round(float(values[at]), 2)])
    return {
        "frames": evidence.frames,
        "points": points,
        "threshold": evidence.divergence_threshold,
        "first": evidence.first_divergent,
    }


def _row(label: str, value: str, tone: str = "", frame: int | None = None) -> dict[str, Any]:
    return {"label": label, "value": value, "tone": tone, "frame": frame}
