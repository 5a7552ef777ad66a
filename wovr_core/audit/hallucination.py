"""A label-free hallucination score: how much imagination disagrees with itself about one and the same actions.

An imagined rollout is imagined again under its own actions with other noise, and with the last training step's weights
in place of their average. Where the model knows what happens, all of these look alike; where they do not, it has made
something up. No real episode is needed, so a queue of suspicious rollouts can be ranked before anything is executed.

Beside it the rivals: what one would rank by without imagining anything twice.

Shapes: S other imaginations, T frames up to and including the decisive one, H = W frame size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wovr_core.errors import WovrError
from wovr_core.statistics import Auroc, auroc, auroc_difference
from wovr_core.types import FloatArray, Frames

DISAGREEMENT = ("seed_frames", "seed_success", "weights_frames", "weights_success")
"""Components of the score."""
RIVALS = ("reward_doubt", "depth", "reconstruction_error")
SCORES = ("disagreement", *DISAGREEMENT, *RIVALS)
"""All scores of a rollout, higher is more suspicious. "disagreement" is the score: the components' mean rank."""


def frame_disagreement(first: Frames, others: Frames) -> float:
    """Mean over pixels of the deviation between imaginations, in grey levels of 255, at the frames that matter.

    Args:
        first: (T, H, W, 3).
        others: (S, T, H, W, 3).
    """
    stack = np.concatenate([first[None], others]).astype(np.float32)
    return float(stack.std(axis=0).mean())


def outcome_disagreement(succeeded: bool, others: FloatArray, threshold: float) -> float:
    """Share of the other imaginations that end otherwise.

    Args:
        succeeded: whether the rollout imagined success.
        others: (S, T) p_success of the others.
    """
    if not len(others):
        raise WovrError("need at least one other imagination")
    return float(((others >= threshold).any(axis=1) != succeeded).mean())


def mean_rank(columns: Sequence[Sequence[float]]) -> FloatArray:
    """(n,) mean over the columns of each row's rank, scaled to [0, 1]; scales and units do not matter."""
    from scipy.stats import rankdata

    ranks = [(rankdata(column) - 1) / max(len(column) - 1, 1) for column in columns]
    return np.mean(ranks, axis=0).astype(np.float32)


def with_disagreement(rows: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The rows with their score "disagreement" added: it ranks a rollout among the others of the same list."""
    if not rows:
        return []
    score = mean_rank([[row[name] for row in rows] for name in DISAGREEMENT])
    return [dict(row) | {"disagreement": float(s)} for row, s in zip(rows, score, strict=True)]


def rank_quality(rows: Sequence[Mapping[str, float]], wrong: Sequence[bool]) -> dict[str, Auroc]:
    """How well each score ranks what turned out wrong above the rest."""
    return {name: auroc([row[name] for row in rows], wrong) for name in SCORES}


def against_rivals(rows: Sequence[Mapping[str, float]], wrong: Sequence[bool]) -> dict[str, tuple[float, float, float]]:
    """Rival -> (area of "disagreement" minus the rival's, low, high), on the same rollouts."""
    own = [row["disagreement"] for row in rows]
    return {name: auroc_difference([row[name] for row in rows], own, wrong) for name in RIVALS}
