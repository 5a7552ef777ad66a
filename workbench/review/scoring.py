"""How much a rollout deserves a look, and why, in words.

Four signals in [0, 1], higher is more suspicious:

    audit         1 where imagined and real outcome differ, 0 where they agree
    seeds         the label-free score of wovr_core.audit.hallucination: a rank among its run's rollouts
    divergence    d / (d + threshold) of the greatest frame difference d: 0.5 just where a frame counts as divergent
    reward        1 - |p - t| / max(t, 1 - t) of the greatest p_success p and the classifier's threshold t

    score = product of max(signal, floor) ** weight, the weights adding up to 1

A product, so that what several signals agree on comes first; with a floor, so that one signal that sees nothing does
not silence the others. A signal that is missing stands at its mean over the rollouts that have it (0.5 where none
has): not having been audited neither lifts nor sinks a rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wovr_core.errors import WovrError

SIGNALS = ("audit", "seeds", "divergence", "reward")
_UNKNOWN = 0.5


@dataclass(frozen=True)
class RankingConfig:
    """Weights of the signals, and how little a signal can count at the least."""

    audit: float = 0.4
    seeds: float = 0.2
    divergence: float = 0.2
    reward: float = 0.2
    floor: float = 0.05

    def __post_init__(self) -> None:
        weights = self.weights
        if min(weights.values()) < 0 or not sum(weights.values()) > 0:
            raise WovrError(f"weights of the queue must not be negative, nor all 0: {weights}")
        if not 0 < self.floor < 1:
            raise WovrError(f"the queue's floor must lie between 0 and 1, not at {self.floor}")

    @property
    def weights(self) -> dict[str, float]:
        """As given; `score` divides them by their sum."""
        return {name: float(getattr(self, name)) for name in SIGNALS}


@dataclass(frozen=True)
class Facts:
    """What the signals are computed from; None is missing."""

    imagined_success: bool
    real_success: bool | None = None
    seed_rank: float | None = None
    """0-1."""
    peak: float | None = None
    """Greatest difference of a frame, of 255."""
    first_divergent: int | None = None
    divergence_threshold: float = 12.0
    p_success: float | None = None
    """The greatest of its frames."""
    reward_threshold: float | None = None


def signals(facts: Facts) -> dict[str, float]:
    """Signal -> value in [0, 1], of those that are known."""
    found: dict[str, float] = {}
    if facts.real_success is not None:
        found["audit"] = float(facts.real_success != facts.imagined_success)
    if facts.seed_rank is not None:
        found["seeds"] = min(max(facts.seed_rank, 0.0), 1.0)
    if facts.peak is not None:
        found["divergence"] = facts.peak / (facts.peak + facts.divergence_threshold) if facts.peak > 0 else 0.0
    if facts.p_success is not None and facts.reward_threshold is not None:
        t = facts.reward_threshold
        found["reward"] = min(max(1 - abs(facts.p_success - t) / max(t, 1 - t), 0.0), 1.0)
    return found


def expected(population: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Signal -> its mean over those that have it, 0.5 where none has: what stands in for a missing one."""
    means = {}
    for name in SIGNALS:
        known = [one[name] for one in population if name in one]
        means[name] = sum(known) / len(known) if known else _UNKNOWN
    return means


def score(known: Mapping[str, float], missing: Mapping[str, float], config: RankingConfig | None = None) -> float:
    """The product above, in (0, 1].

    Args:
        known: of `signals`.
        missing: of `expected`.
    """
    config = config or RankingConfig()
    total, product = sum(config.weights.values()), 1.0
    for name, weight in config.weights.items():
        product *= max(known.get(name, missing[name]), config.floor) ** (weight / total)
    return product


def reason(facts: Facts) -> str:
    """Why it stands where it stands: "imagined success, real failure; leaves reality at frame 20 (...)"."""
    known, parts = signals(facts), []
    if known.get("audit") == 1:
        parts.append(
            "imagined success, real failure" if facts.imagined_success else "imagined failure, real success"
        )  # fmt: skip
    if facts.peak is not None and facts.first_divergent is not None:
        parts.append(f"leaves reality at frame {facts.first_divergent} (up to {facts.peak:.0f} grey levels of 255)")
    if known.get("seeds", 0.0) >= 0.75:
        parts.append(f"disagrees with itself more than {100 * known['seeds']:.0f} % of its run")
    if known.get("reward", 0.0) >= 0.75:
        parts.append(f"reward undecided: p {facts.p_success:.2f} at threshold {facts.reward_threshold:.2f}")
    if facts.real_success is None:
        parts.append("not audited")
    if not parts:
        parts.append("nothing stands out; " + ("success" if facts.imagined_success else "failure") + " confirmed")
    return "; ".join(parts)
