import numpy as np
import pytest

from wovr_core.audit.agreement import sibling_correlation
from wovr_core.errors import WovrError


def test_it_is_the_correlation_within_groups():
    rng = np.random.default_rng(1)
    imagined, real = rng.random((30, 6)), rng.random((30, 6))
    found = sibling_correlation(imagined, real)
    centred = [(x - x.mean(axis=1, keepdims=True)).ravel() for x in (imagined, real)]
    assert found.value == pytest.approx(np.corrcoef(*centred)[0, 1])
    assert found.interval[0] < found.value < found.interval[1]
    assert (found.groups, found.siblings) == (30, 6)


def test_better_starts_count_for_nothing():
    starts = np.arange(40.0)[:, None]
    rng = np.random.default_rng(2)
    noise, other = rng.normal(size=(2, 40, 8))
    assert np.corrcoef((starts + noise).ravel(), (starts + other).ravel())[0, 1] > 0.9
    found = sibling_correlation(starts + noise, starts + other)
    assert abs(found.value) < 0.15
    assert sibling_correlation(starts + noise, 2 * noise - starts).value == pytest.approx(1)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(60):
        noise, other = rng.normal(size=(2, 40, 4))
        low, high = sibling_correlation(noise, 0.6 * noise + 0.8 * other, resamples=300).interval
        held += low < 0.6 < high
    assert 50 <= held <= 60


def test_where_nothing_differs_there_is_no_correlation():
    found = sibling_correlation(np.ones((5, 3)), np.random.default_rng(0).random((5, 3)))
    assert (found.value, found.interval) == (None, None)


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((3, 1), (3, 1)), ((3,), (3,))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(WovrError, match="at least 2 siblings"):
        sibling_correlation(*(np.zeros(s) for s in shapes))
