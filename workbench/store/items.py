"""What is known of one rollout or episode without reading its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wovr_core.types import FloatArray

AUDITED, PRACTICE, BRANCH, REAL = "audited", "practice", "branch", "real"
KINDS = {
    AUDITED: "imagined and audited",
    PRACTICE: "imagined in RL",
    BRANCH: "branched by hand",
    REAL: "real episode",
}

VERDICTS = {
    "false_success": "false success",
    "missed_success": "missed success",
    "true_success": "success, confirmed",
    "true_failure": "failure, confirmed",
    "not_audited": "not audited",
}
OUTCOMES = {
    "imagined_success": "imagined success",
    "imagined_failure": "imagined failure",
    "succeeded": "really succeeded",
    "failed": "really failed",
    "unreadable": "unreadable",
}
DEPTHS = ((1, 16), (17, 32), (33, 64), (65, 128), (129, None))


RANKS = {"false_success": 0, "missed_success": 1, "true_success": 2, "true_failure": 3, "not_audited": 4}
"""How telling a verdict is, 0 the most."""
_CURVE = 48


def verdict_of(imagined: bool, real: bool) -> str:
    """Key of VERDICTS for what was imagined, and what really came of the same actions."""
    if imagined:
        return "true_success" if real else "false_success"
    return "missed_success" if real else "true_failure"


def first_divergent_frame(divergence: Sequence[float] | FloatArray, threshold: float) -> int | None:
    """The first frame whose divergence is at or above the threshold, or None. One frame is enough: the rule of the
    audit's keyframes as well.

    divergence: (N,), one value a frame.
    """
    return next((k for k, value in enumerate(divergence) if value >= threshold), None)


@dataclass(frozen=True)
class Audit:
    """One row of the audit, in short."""

    real_success: bool
    threshold: float
    """From which on a frame counts as divergent: mean absolute pixel difference, of 255."""
    peak: float
    """The greatest divergence of any frame, and that frame."""
    peak_frame: int
    first_divergent: int | None
    """The first frame at or above the threshold."""
    curve: tuple[float, ...]
    """At most 48 values for a spark line; each is the greatest of its stretch, so that no peak is lost."""

    @classmethod
    def of(cls, real_success: bool, divergence: Sequence[float], threshold: float) -> Audit:
        """divergence: (N,), one value a frame."""
        step = max(1, -(-len(divergence) // _CURVE))
        return cls(
            real_success=real_success,
            threshold=threshold,
            peak=max(divergence, default=0.0),
            peak_frame=max(range(len(divergence)), key=divergence.__getitem__, default=0),
            first_divergent=first_divergent_frame(divergence, threshold),
            curve=tuple(round(max(divergence[i : i + step]), 1) for i in range(0, len(divergence), step)),
        )


@dataclass(frozen=True)
class Item:
    """One rollout or episode. `id` is unique in the catalogue and is what links and messages carry."""

    id: str
    run: str
    stage: str
    name: str
    """Its own id, as its file says."""
    kind: str
    path: Path
    stamp: str
    """Changes when the file does; names its pictures in caches."""
    suite_task: str = ""
    instruction: str = ""
    length: int = 0
    """Actions; there is one more frame."""
    depth: int = 0
    """Actions up to and including the first imagined success, or all."""
    success: bool = False
    """Imagined, or real of a real episode."""
    policy: str = ""
    world_model: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    """(what, version) of everything that made a rollout; further facts of an episode."""
    policy_version: str = ""
    world_model_version: str = ""
    group: str = ""
    """Siblings imagined from one keyframe share it."""
    start: str = ""
    """For people; a rollout's exact start is `start_episode` and `start_step`."""
    start_episode: str = ""
    start_step: int = 0
    reason: str = ""
    p_success: float | None = None
    """The greatest of its frames."""
    reward: float | None = None
    threshold: float | None = None
    """Of the reward classifier that judged it."""
    source: str = ""
    """Who acted in an episode: "expert", "expert_fault", or a policy's version."""
    seed: int = 0
    replay: Path | None = None
    audit: Audit | None = None
    broken: str | None = None
    """Why it cannot be read."""

    @property
    def span_key(self) -> str:
        """Under which the run's span log keeps its annotations. Rollout ids are unique in a run; episodes' are not."""
        return f"{self.stage}/{self.name}" if self.kind == REAL else self.name

    @property
    def frames(self) -> int:
        return self.length + 1

    @property
    def outcome(self) -> str:
        """Key of OUTCOMES."""
        if self.broken:
            return "unreadable"
        if self.kind == REAL:
            return "succeeded" if self.success else "failed"
        return "imagined_success" if self.success else "imagined_failure"

    @property
    def verdict(self) -> str:
        """Key of VERDICTS."""
        if self.audit is None:
            return "not_audited"
        return verdict_of(self.success, self.audit.real_success)

    @property
    def rank(self) -> int:
        """How telling it is, 0 the most; what cannot be read comes last."""
        return len(RANKS) if self.broken else RANKS[self.verdict]

    @property
    def depth_range(self) -> str:
        """Which of DEPTHS it falls into, as text; empty of an item that cannot be read."""
        for low, high in DEPTHS:
            if low <= self.depth and (high is None or self.depth <= high):
                return f"{low}-{high}" if high else f"{low}+"
        return ""

    def card(self, spans: int) -> dict[str, Any]:
        """What the gallery shows of it: JSON types only, texts that the page sets as text."""
        return {
            "id": self.id,
            "run": self.run,
            "stage": self.stage,
            "name": self.name,
            "kind": self.kind,
            "kind_title": KINDS[self.kind],
            "task": self.suite_task,
            "instruction": self.instruction,
            "outcome": self.outcome,
            "outcome_title": OUTCOMES[self.outcome],
            "verdict": self.verdict,
            "verdict_title": VERDICTS[self.verdict],
            "depth": self.depth,
            "length": self.length,
            "p_success": self.p_success,
            "peak": round(self.audit.peak, 1) if self.audit else None,
            "divergence": list(self.audit.curve) if self.audit else None,
            "first_divergent": self.audit.first_divergent if self.audit else None,
            "picture": None if self.broken else self.stamp,
            "rows": 2 if self.replay else 1,
            "broken": self.broken,
            "spans": spans,
        }
