"""The picture of a set of corrections shows its numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.correction_plots import timeline, window_weights
from workbench.corrections import CorrectionsConfig, make, source_of
from workbench.flags import add_audit_flags, logged_flags
from wovr_core.data.corrections import CorrectionSet


@pytest.fixture
def made(make_run: Callable[..., Path], tmp_path: Path) -> CorrectionSet:
    run = make_run(tmp_path)
    add_audit_flags(run, source_of(run))
    config = CorrectionsConfig(margin=2, window_weight=7.0, elsewhere_weight=0.5)
    return make(source_of(run), logged_flags(run, source_of(run)), config, run / "corrections")


def test_the_timeline_shows_labels_masks_and_windows(made: CorrectionSet) -> None:
    figure = timeline(made)
    traces = {t.name: t for t in figure.data}
    assert [c.rollout for c in made.corrections] == ["r-false", "r-missed"]
    assert tuple(traces["reward: no success"].x) == (12, 32, None)  # r-false, from its imagined success on
    assert tuple(traces["reward: success"].x) == (14, 32, None)  # r-missed, as the simulator saw it
    assert tuple(traces["masked in RL"].x) == (12, 32, None)  # r-missed is not masked
    assert tuple(traces["world model, drawn more often"].x) == (10, 32, None, 12, 32, None)
    assert tuple(figure.layout.yaxis.ticktext) == ("r-false", "r-missed")


def test_weights_of_windows_by_step(made: CorrectionSet) -> None:
    (trace,) = window_weights(made, "r-missed").data
    weights = dict(zip(trace.x, trace.y, strict=True))
    assert weights[-1] == 0  # the context is not complete yet
    assert weights[3] == 0.5  # predicts frames 4 to 11
    assert weights[4] == 7.0  # predicts frame 12
    assert min(trace.x) == -4
    assert max(trace.x) == 32
