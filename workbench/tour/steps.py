"""The guided tour, step by step: everything that the page Teach says is computed from one run's files.

A step whose data the run does not have is left out; no sentence stands without its number.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workbench.tour.imagination import audit, by_depth, depth, drawing, judge
from workbench.tour.learning import group, keyframes, mask, pace, paid
from workbench.tour.material import Material, Missing, Step, read_material

STEPS: tuple[Callable[[Material], Step], ...] = (
    drawing,
    depth,
    judge,
    audit,
    by_depth,
    keyframes,
    group,
    mask,
    pace,
    paid,
)


def tour(run: Path) -> list[Step]:
    """The steps that this run has the numbers for, in order.

    Raises:
        WovrError: no rollout of this run was audited, so that there is nothing to show.
        CorruptFileError: a file of the run cannot be read.
    """
    material = read_material(run)
    steps = []
    for make in STEPS:
        try:
            steps.append(make(material))
        except (Missing, KeyError, IndexError):
            continue
    return steps
