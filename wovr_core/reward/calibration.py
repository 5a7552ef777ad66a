"""What the classifier's probability is worth: scaling, threshold for a stated false-positive rate, honest intervals.

Everything here is measured on held-out *episodes*. A policy meets a reward model once per frame of an episode, so
the rate that matters is per episode: the share of failed episodes of which any frame passes the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from wovr_core.errors import WovrError
from wovr_core.statistics import proportion_interval, roc_area
from wovr_core.types import BoolArray, FloatArray

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """p = sigmoid(logit / temperature + bias), and the threshold with what it achieves on held-out episodes."""

    temperature: float
    bias: float
    threshold: float
    target_fpr: float
    false_positives: int
    """Failed held-out episodes with any frame at or over the threshold."""
    failures: int
    """Failed held-out episodes."""
    fpr_interval: tuple[float, float]
    """95 % Clopper-Pearson interval of the episodes' false-positive rate."""
    true_positives: int
    """Successful held-out episodes that are recognised: some successful frame passes."""
    early_positives: int
    """Successful held-out episodes in which a frame passes 8 or more frames before the first success."""
    successes: int
    auroc: float
    """Of single frames."""
    ece: float
    """Expected calibration error of single frames, 10 equal bins, after scaling."""
    note: str
    """What the number of held-out failures allows to be said."""

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), 1 - 1 / (1 + np.exp(-np.abs(x))))


def fit_platt(logits: Floats, labels: BoolArray) -> tuple[float, float]:
    """Temperature (positive) and bias that minimise the cross-entropy (Platt 1999, with his smoothed targets)."""
    from scipy.optimize import minimize

    if labels.all() or not labels.any():
        return 1.0, 0.0
    positive, negative = int(labels.sum()), int((~labels).sum())
    target = np.where(labels, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def cost(x: Floats) -> float:
        z = logits * np.exp(-x[0]) + x[1]
        return float(np.mean(np.logaddexp(0, z) - target * z))

    best = minimize(cost, x0=np.zeros(2), method="L-BFGS-B", bounds=[(-3, 3), (-20, 20)])
    return float(np.exp(best.x[0])), float(best.x[1])


def expected_calibration_error(p: Floats, labels: BoolArray, bins: int = 10) -> float:
    """Mean over equal bins of |mean p - share of positives|, weighted by the bins' sizes."""
    which = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [
        abs(float(p[which == b].mean()) - float(labels[which == b].mean())) * float((which == b).mean())
        for b in range(bins)
        if (which == b).any()
    ]
    return float(sum(gaps))


def choose_threshold(
    p: Sequence[FloatArray], success: Sequence[BoolArray], target_fpr: float, floor: float = 0.5
) -> float:
    """The smallest threshold, `floor` or more, that keeps false positives per failed episode within `target_fpr`.

    False positives are failed episodes of which some frame reaches the threshold. Between two episodes' peaks the
    threshold stands half-way (in logits) towards the next higher probability seen, at most 0.999.

    With few failures, one that looks just like a success would set the threshold above all successes; and where
    successes are rare, calibrated probabilities may stay below the floor. Then nothing would ever be rewarded. Where
    fewer than half of the successes are recognised so, the threshold is the one, at any height, with the largest
    difference of the episodes' true- and false-positive rates (Youden 1950), whatever target and floor.

    Args:
        p: per held-out episode (T+1,), calibrated.
        success: per held-out episode (T+1,).
    """
    if not 0 <= target_fpr < 1:
        raise WovrError(f"target_fpr must lie in [0, 1), got {target_fpr}")
    failed = np.sort([float(x.max()) for x, s in zip(p, success, strict=True) if not s.any()])[::-1]
    won = np.array([float(x[s].max()) for x, s in zip(p, success, strict=True) if s.any()])
    allowed = int(np.floor(target_fpr * len(failed) + 1e-9))
    seen = [*(float(v) for x, s in zip(p, success, strict=True) for v in x[s]), *failed]
    kept = allowed >= len(failed) or failed[allowed] < floor
    strict = floor if kept else _just_above(float(failed[allowed]), seen)
    if not len(won) or (won >= strict).mean() >= 0.5:
        return strict
    if not len(failed):
        return float(won.min())
    candidates = [floor, *(_just_above(float(v), seen) for v in failed)]
    # Of equals the strictest.
    return max(candidates, key=lambda t: (float((won >= t).mean() - (failed >= t).mean()), t))


def _just_above(beaten: float, seen: Sequence[float]) -> float:
    """Half-way in logits from a peak that must stay below to the next higher probability seen, at most 0.999."""

    def logit(v: float) -> float:
        v = min(max(v, 1e-6), 1 - 1e-6)
        return float(np.log(v / (1 - v)))

    nearest = min((v for v in seen if v > beaten), default=1.0)
    middle = 1 / (1 + np.exp(-(logit(beaten) + logit(nearest)) / 2))
    return float(min(max(middle, np.nextafter(np.float32(beaten), np.float32(1))), 0.999))


def calibrate(
    logits: Sequence[FloatArray],
    success: Sequence[BoolArray],
    target_fpr: float = 0.05,
    floor: float = 0.5,
) -> Calibration:
    """Scale, choose the threshold and say what was achieved, all on held-out episodes.

    Args:
        logits: per held-out episode (T+1,), uncalibrated.
        success: per held-out episode (T+1,).
        target_fpr: of failed episodes, at most.
        floor: the threshold's least value.

    Raises:
        WovrError: no episode, or lengths that differ.
    """
    if not logits or len(logits) != len(success):
        raise WovrError(f"need success flags for each held-out episode: {len(logits)}, {len(success)}")
    if any(len(a) != len(b) for a, b in zip(logits, success, strict=True)):
        raise WovrError("an episode has another number of logits than of success flags")
    flat, truth = np.concatenate(logits).astype(np.float64), np.concatenate(success).astype(bool)
    temperature, bias = fit_platt(flat, truth)
    p = [sigmoid(x.astype(np.float64) / temperature + bias).astype(np.float32) for x in logits]
    threshold = choose_threshold(p, success, target_fpr, floor)
    failed = [x for x, s in zip(p, success, strict=True) if not s.any()]
    won = [(x, s) for x, s in zip(p, success, strict=True) if s.any()]
    false = sum(bool((x >= threshold).any()) for x in failed)
    early = sum(bool((x[: max(int(s.argmax()) - 7, 0)] >= threshold).any()) for x, s in won)
    everything = np.concatenate(p)
    return Calibration(
        temperature=temperature,
        bias=bias,
        threshold=threshold,
        target_fpr=target_fpr,
        false_positives=false,
        failures=len(failed),
        fpr_interval=proportion_interval(false, len(failed), "exact"),
        true_positives=sum(bool((x[s] >= threshold).any()) for x, s in won),
        early_positives=early,
        successes=len(won),
        auroc=roc_area(flat, truth),
        ece=expected_calibration_error(everything, truth),
        note=_note(len(failed), target_fpr, false),
    )


def _note(failures: int, target: float, false: int) -> str:
    if false > target * failures:
        return (
            f"{false} of {failures} held-out failures look like successes: the target of {target:.0%} would leave most "
            "successes unrewarded, so the threshold is where the rates of true and false positives differ most"
        )
    best = proportion_interval(0, failures, "exact")[1]
    if best <= target:
        return f"{failures} held-out failures"
    needed = int(np.ceil(np.log(0.025) / np.log(1 - target))) if target > 0 else None
    more = f"; {needed} without one false positive would show {target:.0%}" if needed else ""
    return f"{failures} held-out failures show a false-positive rate of {best:.0%} at best{more}"
