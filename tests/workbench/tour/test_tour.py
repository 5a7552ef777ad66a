"""What the tour says is what the run's files hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.starter.unpack import manifest, unpack
from workbench.tour.steps import tour
from wovr_core.errors import WovrError


def test_steps_without_data_are_left_out_and_the_audit_counts_right(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    steps = {step.key: step for step in tour(make_run(tmp_path))}
    assert "paid" not in steps
    audit = steps["audit"]
    # Of four rollouts two imagine a success, one of them falsely; of the other two one succeeds for real.
    assert audit.numbers == {"false": 1, "imagined": 2, "missed": 1, "failures": 2}
    assert "1 of 2 (50 %, 95 % interval 9 to 91 %)" in audit.says[0]
    assert audit.piece["rollout"] == "r-false"
    mask = steps["mask"]
    # Imagined successes come at action 12 of 32: 12 + 12 + 32 + 32 actions count.
    assert mask.numbers == {"counted": 88, "total": 128}


def test_a_run_without_audits_says_what_to_do(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "audit" / "rows.json").unlink()
    with pytest.raises(WovrError, match="holds no audited rollout"):
        tour(run)


def test_the_starter_pack_has_all_ten(tmp_path: Path) -> None:
    steps = tour(unpack(runs=tmp_path / "runs").path)
    assert [s.key for s in steps] == [
        "world-model", "depth", "judge", "audit", "by-depth", "keyframes", "grpo", "mask", "pace", "paid",
    ]  # fmt: skip
    figures = manifest()["figures"]
    audit = next(s for s in steps if s.key == "audit")
    assert [audit.numbers["false"], audit.numbers["imagined"]] == figures["false_success"]
    paid = next(s for s in steps if s.key == "paid")
    assert paid.numbers["after"] == figures["real_success_after"][0]
    for step in steps:
        assert any(c.isdigit() for c in "".join(step.says)), step.key
        assert step.notes
        assert step.sources
