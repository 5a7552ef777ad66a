"""A run folder, read for showing: which stages are done, what they gave, how long they took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wovr_core.config import from_dict
from wovr_core.data.episode_files import SUFFIX, read_episode, read_rollout
from wovr_core.errors import WovrError
from wovr_core.files import read_json
from wovr_core.run_folder import require_run
from wovr_core.stages.folder import read_metrics
from wovr_core.types import Episode, Rollout

if TYPE_CHECKING:
    from wovr_core.recipes import Recipe


DIVERGENCE_THRESHOLD = 12.0
"""From which on a frame counts as divergent, of 255, where a run's recipe names none."""


@dataclass(frozen=True)
class StageRecord:
    """One finished stage."""

    name: str
    outputs: dict[str, Any]
    seconds: float


class RunData:
    """Reads lazily; a run that is still going on shows what it has so far."""

    def __init__(self, path: Path) -> None:
        self.path = require_run(path)
        self.description: dict[str, Any] = read_json(path / "run.json")
        self.stages: dict[str, StageRecord] = {}
        for folder in path.iterdir():
            if (folder / "outputs.json").is_file():
                record = read_json(folder / "outputs.json")
                self.stages[folder.name] = StageRecord(folder.name, record["outputs"], record["seconds"])

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def divergence_threshold(self) -> float:
        """Mean absolute pixel difference, of 255, from which on a frame counts as divergent."""
        keyframes = self.description.get("config", {}).get("keyframes", {})
        return float(keyframes.get("divergence_threshold", DIVERGENCE_THRESHOLD))

    def recipe(self) -> Recipe:
        """What the run was made with. Raises WovrError for a recipe of another time."""
        from wovr_core.recipes import Recipe  # brings torch: seconds

        config = self.description.get("config")
        if not isinstance(config, dict):
            raise WovrError(f"{self.path / 'run.json'} does not say its configuration")
        return from_dict(Recipe, config, str(self.path / "run.json"))

    def finished(self, stages: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Stage -> its outputs. Raises WovrError, with the command that makes them, for one that is not finished."""
        missing = next((stage for stage in stages if stage not in self.stages), None)
        if missing is not None:
            made_by = f"wovr run {stages[-1]} --recipe {self.description.get('recipe', 'demo')} --run {self.name}"
            raise WovrError(f"{self.name} has not finished {missing}: run `{made_by}`")
        return {stage: self.stages[stage].outputs for stage in stages}

    def outputs(self, stage: str) -> dict[str, Any] | None:
        """What a stage gave, or None if it has not finished."""
        record = self.stages.get(stage)
        return record.outputs if record else None

    def metrics(self, stage: str, phase: str | None = None) -> list[dict[str, Any]]:
        lines = read_metrics(self.path / stage / "metrics.jsonl")
        return lines if phase is None else [line for line in lines if line["phase"] == phase]

    def audit_rows(self) -> list[dict[str, Any]]:
        path = self.path / "audit" / "rows.json"
        return list(read_json(path)) if path.is_file() else []

    def all_audit_rows(self) -> list[dict[str, Any]]:
        """Of every rollout that was audited, the starter pack's left-out ones too."""
        path = self.path / "audit" / "all_rows.json"
        return list(read_json(path)) if path.is_file() else self.audit_rows()

    def rollout(self, rollout_id: str) -> Rollout:
        """An audited rollout."""
        return read_rollout(self.path / "imagine" / "rollouts" / f"{rollout_id}{SUFFIX}")

    def replay(self, rollout_id: str) -> Episode:
        """What the rollout's actions really led to."""
        return read_episode(self.path / "audit" / "episodes" / f"{rollout_id}{SUFFIX}")
