"""bf16 only where it pays."""

import pytest
import torch

from wovr_core import precision


def test_autocast_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, 2)
    for pays, kind in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "bf16_pays", lambda pays=pays: pays)
        with precision.autocast("cpu"):
            assert (x @ x).dtype == kind
        with precision.autocast("cpu", enabled=False):
            assert (x @ x).dtype == torch.float32
