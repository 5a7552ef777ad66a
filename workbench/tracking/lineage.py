"""Datasets and checkpoints as inputs and outputs of stages, each known by kind and version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.tracking.stages import StageView
from wovr_core.files import fingerprint, read_json

MODELS = ("policy", "world_model", "reward")
DATASETS = ("episodes", "rollouts", "keyframes")


@dataclass(frozen=True)
class Artifact:
    """One thing that stages hand on."""

    kind: str
    """One of MODELS or DATASETS."""
    version: str
    path: Path | None
    """None if it was made outside this run."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.version}"

    @property
    def type(self) -> str:
        return "model" if self.kind in MODELS else "dataset"

    def description(self) -> Path | None:
        """The file that lists the content's digests."""
        if self.path is None:
            return None
        file = self.path / ("manifest.json" if self.kind in MODELS else "index.json")
        return file if file.is_file() else None


def outputs_of(stage: StageView) -> list[Artifact]:
    """What a finished stage made; a model that it only kept (not promoted) is not among them."""
    found = []
    for kind in (*MODELS, *DATASETS):
        value = (stage.outputs or {}).get(kind)
        path = stage.file(value) if isinstance(value, str) else None
        version = _version(stage, kind, path) if path is not None else None
        if version is not None and version not in stage.inputs.get(kind, "").split(","):
            found.append(Artifact(kind, version, path))
    return found


def inputs_of(stage: StageView, others: Iterable[StageView]) -> list[Artifact]:
    """What a stage was made from, found among the outputs of the run's other stages where it is one."""
    made = {artifact.name: artifact for other in others if other.name != stage.name for artifact in outputs_of(other)}
    wanted = [
        Artifact(kind, version, None)
        for kind in (*MODELS, *DATASETS)
        for version in stage.inputs.get(kind, "").split(",")
        if version
    ]
    return [made.get(artifact.name, artifact) for artifact in wanted]


def _version(stage: StageView, kind: str, path: Path) -> str | None:
    if kind in MODELS:
        manifest = path / "manifest.json"
        return str(read_json(manifest)["version"]) if manifest.is_file() else None
    index = path / "index.json"
    if index.is_file():
        return fingerprint(read_json(index))
    if kind == "keyframes" and stage.outputs is not None:
        return str(stage.outputs["version"])
    return None
