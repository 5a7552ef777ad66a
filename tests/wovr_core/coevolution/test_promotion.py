import pytest

from wovr_core.coevolution.promotion import HeldOutQuality, decide


@pytest.mark.parametrize(
    ("after", "promoted"),
    [
        (HeldOutQuality(9.0, 0.2), (True, False)),
        (HeldOutQuality(11.0, 0.1), (False, True)),
        (HeldOutQuality(9.0, 0.1), (True, True)),
        (HeldOutQuality(10.0, 0.2), (False, False)),  # a tie keeps the old ones
        (HeldOutQuality(float("nan"), float("nan")), (False, False)),
    ],
)
def test_each_model_is_promoted_on_its_own_evidence(after, promoted):
    decision = decide(HeldOutQuality(10.0, 0.2), after)
    assert (decision.world_model, decision.reward) == promoted
