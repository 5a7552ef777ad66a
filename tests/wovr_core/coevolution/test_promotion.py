import pytest

from wovr_core.coevolution.promotion import is_better


@pytest.mark.parametrize(
    ("before", "after", "promoted"),
    [(10.0, 9.0, True), (10.0, 11.0, False), (10.0, 10.0, False), (10.0, float("nan"), False)],
)
def test_only_evidence_promotes(before, after, promoted):
    assert is_better(before, after) is promoted
