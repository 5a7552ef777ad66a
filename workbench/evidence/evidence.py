"""The record of evidence beside one imagined rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.evidence.objects import ObjectError
from wovr_core.types import FloatArray


@dataclass(frozen=True)
class RealSide:
    """What really happened, to be shown beside what was imagined."""

    kind: Literal["replay", "recorded"]
    """"replay": the simulator executed the rollout's actions. "recorded": the episode that it starts from."""
    path: Path
    offset: int
    """The episode's frame that stands beside imagined frame 0."""
    same_actions: bool
    """Whether its actions are the rollout's: only then frames can be compared one by one."""


@dataclass(frozen=True)
class Evidence:
    """What is known. N frames of the rollout; what is None is named in `missing` with the reason."""

    id: str
    """The record's id in the store."""
    version: str
    """Of the files that this was made from."""
    frames: int
    imagined_success: bool
    imagined_step: int | None
    """Frame at which success was first imagined."""
    p_success: FloatArray
    """(N,)"""
    reward_threshold: float | None
    real: RealSide | None
    real_success: bool | None
    divergence: FloatArray | None
    """(n,), n <= N: mean absolute difference of imagined and real frame, in grey levels of 255."""
    divergence_threshold: float
    first_divergent: int | None
    """By `store.items.first_divergent_frame`; None also where no frame is."""
    seeds: Mapping[str, float] | None
    """Label-free scores (wovr_core.audit.hallucination.SCORES); "disagreement" is a rank in its run, 0-1."""
    object_error: ObjectError | None
    missing: Mapping[str, str] = field(default_factory=dict)
    """"real", "real_success", "divergence", "seeds", "object_error" or "reward_threshold" -> why it is not known."""

    @property
    def rule(self) -> str:
        """How the first divergent frame is found, for people."""
        return f"first frame whose mean absolute pixel difference is at least {self.divergence_threshold:g} of 255"


@dataclass(frozen=True)
class Summary:
    """Evidence in short: what the queue ranks on, and what a row of the store holds."""

    imagined_success: bool
    p_success: float | None
    """The greatest of its frames."""
    reward_threshold: float | None
    divergence_threshold: float
    real_success: bool | None = None
    peak: float | None = None
    peak_frame: int | None = None
    first_divergent: int | None = None
    disagreement: float | None = None
    object_excess: Mapping[str, float] | None = None
    """Thing -> greatest error in cm beyond what the probe errs on real frames."""
    object_version: str | None = None
    """Of the probe and the replay that it was measured with."""

    def to_json(self) -> dict[str, Any]:
        """JSON types only."""
        found = dict(vars(self))
        found["object_excess"] = None if self.object_excess is None else dict(self.object_excess)
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        """Raises TypeError for what another version wrote."""
        return cls(**value)
