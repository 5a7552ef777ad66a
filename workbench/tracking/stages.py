"""The stage folders of a run, as a tracker needs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wovr_core.errors import CorruptFileError
from wovr_core.files import fingerprint, read_json
from wovr_core.run_folder import require_run


@dataclass(frozen=True)
class StageView:
    """One stage folder at one moment."""

    name: str
    """Of the folder: "rl_evolved"."""
    kind: str
    """Of the stage: "train_policy_rl"."""
    path: Path
    config: dict[str, Any]
    inputs: dict[str, str]
    """Name -> version."""
    outputs: dict[str, Any] | None
    """None while it goes on."""
    started: float
    """Seconds since the epoch."""

    @property
    def generation(self) -> str:
        """Another one means that the folder was deleted and made anew from something else."""
        return fingerprint([self.kind, self.config, self.inputs])

    def file(self, text: str) -> Path | None:
        """A path named in outputs, also after the run folder was moved; None if nothing is there."""
        path = Path(text)
        candidates = (path, self.path / path.name, self.path.parent.joinpath(*path.parts[-2:]))
        return next((p for p in candidates if p.is_absolute() and p.exists()), None)


def stages_of(run: Path) -> list[StageView]:
    """The stages begun so far, in the order of their beginning.

    Raises WovrError when there is no run, and CorruptFileError naming a damaged file.
    """
    found = []
    for config in require_run(run).glob("*/config.json"):
        record, finished = read_json(config), config.with_name("outputs.json")
        try:
            found.append(
                StageView(
                    name=config.parent.name,
                    kind=record["stage"],
                    path=config.parent.absolute(),
                    config=record["config"],
                    inputs=record["inputs"],
                    outputs=read_json(finished)["outputs"] if finished.is_file() else None,
                    started=config.stat().st_mtime,
                )
            )
        except (KeyError, TypeError) as error:
            raise CorruptFileError(f"{config.parent} holds no stage that can be sent: {error} is missing") from error
    return sorted(found, key=lambda stage: (stage.started, stage.name))
