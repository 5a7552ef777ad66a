"""Weights & Biases: one wandb run per stage, all of a run folder in one group, so that lineage is a graph of stages.

A stage's wandb run keeps its id (derived from the position file's run id) and is resumed by later syncs. The usual
environment variables hold: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR, WANDB_API_KEY, WANDB_BASE_URL.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.tracking import wandb_log
from workbench.tracking.clips import Clip
from workbench.tracking.lineage import Artifact
from workbench.tracking.records import MetricRecord
from workbench.tracking.stages import StageView
from workbench.tracking.tables import Table
from wovr_core.errors import MissingDependencyError, WovrError

PROJECT = "wovr"


class WandbSink:
    """See `sync.Sink`. A thing's number is its wandb step, so what was sent twice would replace itself.

    Args:
        run: the run folder; offline files go to its tracking/ unless WANDB_DIR says otherwise.
        upload: send the files of datasets and checkpoints too, not just their digests.
    """

    name = "wandb"

    def __init__(self, run: Path, upload: bool = False) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingDependencyError("wandb is not installed; pip install 'wovr-workbench[tracking]'") from error
        self._wandb = wandb
        self._group = run.name
        self._directory = Path(os.environ.get("WANDB_DIR") or run / "tracking")
        self._upload = upload
        self._run: Any = None
        self._phases: set[str] = set()

    def open(self, stage: StageView, stage_id: str) -> int:
        """Raises WovrError when wandb refuses: no key, no network, an unknown entity."""
        with _explain():
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                id=stage_id,
                name=f"{self._group}/{stage.name}",
                group=self._group,
                job_type=stage.name,
                tags=[stage.kind],
                config=stage.config | {"inputs": stage.inputs},
                dir=str(self._directory),
                resume="allow",
                reinit="finish_previous",
                settings=self._settings(),
            )
        self._phases = set()
        self._outputs = stage.outputs or {}
        return max(self._run.starting_step, self._written_offline(stage_id))

    def _settings(self) -> Any:
        """Nothing of the machine that syncs: it need not be the one that computed."""
        return self._wandb.Settings(
            console="off",
            silent=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
        )

    def _written_offline(self, stage_id: str) -> int:
        """Rows in the files of earlier offline syncs of this stage."""
        files = self._directory.glob(f"wandb/offline-run-*-{stage_id}/run-{stage_id}.wandb")
        steps = [row["_step"] for file in files for row in wandb_log.history(file)]
        return max(steps, default=-1) + 1

    def scalars(self, number: int, record: MetricRecord) -> None:
        prefix = f"{record.phase}/" if record.phase else ""
        if record.phase not in self._phases:
            self._phases.add(record.phase)
            self._run.define_metric(f"{prefix}step", hidden=True)
            self._run.define_metric(f"{prefix}*", step_metric=f"{prefix}step")
        row = {**record.named(), f"{prefix}step": record.step, "seconds": record.seconds}
        self._run.log(row, step=number)

    def table(self, number: int, table: Table) -> None:
        shown = self._wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])
        self._run.log({f"tables/{table.name}": shown}, step=number)

    def clip(self, number: int, clip: Clip) -> None:
        with tempfile.TemporaryDirectory(prefix="wovr-clip-") as folder:
            file = Path(folder) / "clip.gif"
            file.write_bytes(clip.gif())
            # wandb copies the file while it makes the object.
            video = self._wandb.Video(str(file), caption=clip.caption, format="gif")
            self._run.log({f"clips/{clip.name}": video}, step=number)

    def lineage(self, inputs: list[Artifact], outputs: list[Artifact]) -> None:
        self._run.summary.update(_flat(self._outputs))
        with _explain():
            for artifact in inputs:
                self._use(self._as_wandb(artifact))
            for artifact in outputs:
                self._run.log_artifact(self._as_wandb(artifact))

    def _use(self, artifact: Any) -> None:
        if not self._run.offline:
            self._run.use_artifact(artifact)
        else:
            # use_artifact wants the server. Its own first half does not: it writes down that the artifact is used,
            # and `wandb sync` carries that out.
            self._run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)

    def _as_wandb(self, artifact: Artifact) -> Any:
        """Of equal content for its maker and its users: wandb then knows both for one."""
        known = {"kind": artifact.kind, "version": artifact.version}
        made = self._wandb.Artifact(artifact.name, type=artifact.type, metadata=known)
        with made.new_file("version.json") as file:
            json.dump(known, file)
        if (listing := artifact.description()) is not None:
            made.add_file(str(listing), name=listing.name)
        if self._upload and artifact.path is not None:
            for path in [artifact.path] if artifact.path.is_file() else sorted(artifact.path.iterdir()):
                if path.is_file() and path != listing:
                    made.add_file(str(path), name=path.name)
        return made

    def close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            with _explain():
                run.finish()


@contextmanager
def _explain() -> Iterator[None]:
    import wandb

    try:
        yield
    except wandb.Error as error:
        raise WovrError(
            f"wandb: {str(error).strip() or type(error).__name__}; log in with `wandb login`, or set "
            "WANDB_MODE=offline to write files that `wandb sync` sends later"
        ) from error


def _flat(values: Any, key: str = "") -> dict[str, float | str | bool]:
    """Numbers and short texts of a stage's outputs, by dotted names; lists are left out."""
    if isinstance(values, dict):
        found: dict[str, float | str | bool] = {}
        for name, value in values.items():
            found |= _flat(value, f"{key}.{name}" if key else str(name))
        return found
    return {key: values} if isinstance(values, (int, float, str, bool)) else {}
