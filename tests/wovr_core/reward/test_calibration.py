"""Probabilities, thresholds and intervals against computations of their own."""

import numpy as np
import pytest

from wovr_core.errors import WovrError
from wovr_core.reward import calibration as cal


def episodes(seed: int, failures: int = 40, wins: int = 30) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Logits that overlap a little, three times too confident."""
    rng = np.random.default_rng(seed)
    logits, success = [], []
    for i in range(failures + wins):
        s = np.zeros(40, dtype=bool)
        if i >= failures:
            s[30:] = True
        logits.append((3 * (rng.normal(size=40) + np.where(s, 3, -3))).astype(np.float32))
        success.append(s)
    return logits, success


def test_calibration_error_by_hand() -> None:
    p, labels = np.array([0.05, 0.05, 0.95, 1.0]), np.array([False, True, True, True])
    assert cal.expected_calibration_error(p, labels) == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)


def test_platt_minimises_the_cross_entropy_and_undoes_overconfidence() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=4000) * 2
    labels = rng.random(4000) < 1 / (1 + np.exp(-z))
    temperature, bias = cal.fit_platt(3 * z - 1.5, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    assert bias == pytest.approx(0.5, abs=0.1)
    before = cal.expected_calibration_error(cal.sigmoid(3 * z - 1.5), labels)
    after = cal.expected_calibration_error(cal.sigmoid((3 * z - 1.5) / temperature + bias), labels)
    assert after < 0.3 * before


@pytest.mark.parametrize("target", [0.0, 0.05, 0.2])
def test_threshold_keeps_the_stated_rate_and_is_not_higher_than_needed(target: float) -> None:
    logits, success = episodes(2)
    result = cal.calibrate(logits, success, target_fpr=target, floor=0.01)
    p = [1 / (1 + np.exp(-(x.astype(float) / result.temperature + result.bias))) for x in logits]
    peaks = np.array([x.max() for x, s in zip(p, success, strict=True) if not s.any()])
    assert (peaks >= result.threshold).sum() == result.false_positives <= target * 40
    if result.false_positives + 1 > target * 40 + 1e-9 and result.threshold > 0.01:
        # one episode more would exceed the target were the threshold at the next lower peak
        below = peaks[peaks < result.threshold].max()
        assert (peaks >= below).sum() > target * 40
    wins = [(x, s) for x, s in zip(p, success, strict=True) if s.any()]
    assert result.true_positives == sum((x[s] >= result.threshold).any() for x, s in wins)
    assert result.early_positives == sum((x[:23] >= result.threshold).any() for x, _ in wins)
    assert (result.failures, result.successes) == (40, 30)


def test_a_clean_classifier_keeps_the_floor() -> None:
    logits = [np.full(10, -6, dtype=np.float32)] * 3 + [np.array([-6] * 5 + [6] * 5, dtype=np.float32)] * 3
    success = [np.zeros(10, dtype=bool)] * 3 + [np.array([False] * 5 + [True] * 5)] * 3
    result = cal.calibrate(logits, success)
    assert result.threshold == 0.5
    assert (result.false_positives, result.true_positives, result.auroc) == (0, 3, 1.0)


def test_few_failures_are_said_to_be_few() -> None:
    logits, success = episodes(3, failures=5)
    result = cal.calibrate(logits, success, target_fpr=0.05)
    assert result.fpr_interval[1] >= 0.5
    assert "5 held-out failures show a false-positive rate of 52% at best" in result.note
    assert "72 without one" in result.note


def test_bad_input() -> None:
    with pytest.raises(WovrError, match="another number"):
        cal.calibrate([np.zeros(3, dtype=np.float32)], [np.zeros(4, dtype=bool)])
    with pytest.raises(WovrError, match="held-out"):
        cal.calibrate([], [])
    with pytest.raises(WovrError, match="target_fpr"):
        cal.choose_threshold([], [], 1.5)


def test_one_failure_that_looks_like_a_success_does_not_end_all_rewards():
    """One of eight failures peaks above every success: within 5 % no success would be recognised at all."""
    won, failed = np.linspace(0.75, 0.92, 10), [0.954, 0.81, 0.4, *[0.02] * 5]
    p = [np.array([0.1, v], np.float32) for v in (*won, *failed)]
    success = [np.array([False, i < len(won)]) for i in range(len(p))]
    threshold = cal.choose_threshold(p, success, 0.05)

    def youden(t):
        return np.mean(won >= t) - np.mean(np.array(failed) >= t)

    assert youden(threshold) == max(youden(t) for t in np.linspace(0.5, 0.999, 500))
    assert 0.4 < threshold <= 0.75
    strict = cal.choose_threshold(p[:11] + p[12:], success[:11] + success[12:], 0.05)
    assert strict == pytest.approx(threshold), "without the second-highest failure the choice is the same"
    clear = [i for i in range(len(p)) if i != 10]
    kept = cal.choose_threshold([p[i] for i in clear], [success[i] for i in clear], 0.05)
    assert 0.81 < kept < 0.82, "where most successes pass, the target holds"


def test_rare_successes_below_the_floor_are_still_recognised():
    won, failed = [0.12, 0.3, 0.45, 0.66], [0.24, 0.05, 0.01, 0.01, 0.01, 0.01]
    p = [np.array([0.0, v], np.float32) for v in (*won, *failed)]
    threshold = cal.choose_threshold(p, [np.array([False, i < 4]) for i in range(10)], 0.05)
    assert 0.05 < threshold <= 0.12, "4 of 4 at 1 of 6 beats 3 of 4 at 0 of 6"
    alone = cal.choose_threshold(p[:4], [np.array([False, True])] * 4, 0.05)
    assert alone == pytest.approx(0.12), "without failures all successes pass"


def test_the_note_says_when_the_target_was_given_up():
    logits = [np.array([-4.0, 2.0 + i / 10]) for i in range(6)] + [np.array([-4.0, v]) for v in (3.5, -5.0, -5.0, -5.0)]
    success = [np.array([False, i < 6]) for i in range(10)]
    found = cal.calibrate(logits, success, 0.05)
    assert (found.true_positives, found.false_positives) == (6, 1)
    assert "1 of 4 held-out failures look like successes" in found.note
