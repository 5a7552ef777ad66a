"""When PACE refines by itself: from drift and error, within a budget of real episodes; and the record of it all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wovr_core.errors import WovrError
from wovr_core.files import write_bytes

Action = Literal["wait", "refine"]


@dataclass(frozen=True)
class AutopilotConfig:
    """When it looks, when it refines, and what it may spend."""

    budget: int = 60
    """Real episodes that it may spend in all, probes included."""
    probe_drift: float = 0.02
    """Nats per token (`drift.action_drift`) from which on a few real episodes are spent to see the model's error."""
    drift: float = 0.2
    """From which on it refines whatever the error."""
    error_growth: float = 1.15
    """Error on the new policy's episodes over that at the last refinement, from which on it refines."""
    probe_frames: int = 64
    """Observations on which the drift is measured."""
    samples: int = 4
    """Chunks that either policy draws at each of them."""

    def __post_init__(self) -> None:
        if self.budget < 0 or self.probe_drift > self.drift or self.error_growth < 1:
            raise WovrError("the autopilot needs budget >= 0, probe_drift <= drift and error_growth >= 1")


@dataclass(frozen=True)
class Decision:
    action: Action
    reason: str


def wants_probe(drift: float, left: int, cost: int, config: AutopilotConfig) -> bool:
    """Whether to spend `cost` of the `left` real episodes on looking at the world model's error."""
    return drift >= config.probe_drift and cost <= left


def decide(
    drift: float, error: float | None, baseline: float | None, left: int, cost: int, config: AutopilotConfig
) -> Decision:
    """Whether to refine now.

    Args:
        drift: of the policy since the last refinement.
        error: of the world model on the new policy's episodes; None if it was not looked at.
        baseline: the same at the last refinement; None before the first.
        left: real episodes that may still be spent.
        cost: real episodes of a refinement.
    """
    growth = error / baseline if error is not None and baseline else None
    if drift >= config.drift:
        why = f"drift {drift:.3f} >= {config.drift:g}"
    elif growth is not None and growth >= config.error_growth:
        why = f"error grew by {growth:.2f} >= {config.error_growth:g}"
    else:
        seen = "" if growth is None else f", error grew by {growth:.2f}"
        return Decision("wait", f"drift {drift:.3f}{seen}")
    if cost > left:
        return Decision("wait", f"{why}, but {cost} real episodes are needed and {left} are left")
    return Decision("refine", why)


class Ledger:
    """The history as JSON Lines, one line a round, each written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        """Oldest first. Raises WovrError when the file is no ledger."""
        try:
            return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []
        except ValueError as error:
            raise WovrError(f"{self.path} is no ledger of the autopilot ({error})") from error

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append a round. One that is in already, as after a kill, is passed over; it must say the same."""
        entries = self.entries()
        plain = json.loads(json.dumps(dict(entry)))
        for known in entries:
            if known["round"] == plain["round"]:
                if known != plain:
                    raise WovrError(f"{self.path} already holds another round {plain['round']}: choose another run")
                return
        lines = [json.dumps(e, sort_keys=True) for e in [*entries, plain]]
        write_bytes(self.path, ("\n".join(lines) + "\n").encode())
