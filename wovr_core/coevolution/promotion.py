"""PACE's gate: a refined model replaces the old one only where it is better on held-out new-policy episodes."""

from __future__ import annotations


def is_better(before: float, after: float) -> bool:
    """Whether the refined version takes over.

    Both are errors (lower is better) on real episodes of the new policy that neither version was trained on. A
    tie, or an error that is not a number, keeps the old version: without evidence nothing is replaced.
    """
    return after < before
