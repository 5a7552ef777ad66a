"""A set of corrections: what people (or the audit) found wrong with imagined rollouts, as data for the stages.

One folder per version, never changed, complete in itself:

    <version>/manifest.json              see `CorrectionSet`; the version is the digest of all else that is in it
    <version>/rollouts/<id>.safetensors  the imagined rollouts, siblings of their groups included
    <version>/replays/<id>.safetensors   what their actions really led to, where that is known

The manifest holds digests of the files and no time of day: the same annotations give the same bytes.

Frames are counted as in `Rollout.frames`: frame 0 is the start, action t leads to frame t+1.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wovr_core.config import from_dict
from wovr_core.data.episode_files import SUFFIX, read_episode, read_rollout, read_rollout_summary
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import explain_disk_errors, fingerprint, fsync_directory, read_json, sha256_file, write_json
from wovr_core.types import Episode, Frames, Rollout, RolloutGroup

SCHEMA = 1
KIND = "corrections"
MANIFEST = "manifest.json"
ROLLOUTS, REPLAYS = "rollouts", "replays"


@dataclass(frozen=True)
class FrameLabel:
    """What the reward model is to say of frames first..last (inclusive)."""

    first: int
    last: int
    success: bool
    weight: float
    """Beside 1 of an easy and `LabelConfig.hard_weight` of a hard frame of an episode."""


@dataclass(frozen=True)
class WindowWeight:
    """How often the world model is trained on which part of the real replay."""

    first: int
    last: int
    """Windows that predict any of the frames first..last weigh `weight`, all others `elsewhere`."""
    weight: float
    elsewhere: float


@dataclass(frozen=True)
class Correction:
    """All that is corrected about one imagined rollout."""

    rollout: str
    labels: tuple[FrameLabel, ...] = ()
    masked_from: int | None = None
    """First hallucinated frame: the steps that lead to it and on do not count in the policy's loss."""
    window: WindowWeight | None = None


@dataclass(frozen=True)
class Horizon:
    """How far imagination from one start, and from those near it in the same episode, can be believed."""

    reference: str
    """`reference_of` the episode: ids alone are not unique over folders."""
    step: int
    """Of the episode, where the flagged rollouts began."""
    frame: int
    """First frame, counted from `step`, that is not believed."""


@dataclass(frozen=True)
class Corrections:
    """The content of a set, but for its files."""

    corrections: tuple[Correction, ...]
    horizons: tuple[Horizon, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """JSON: what it was made of and how, enough to make it again."""
    lineage: Mapping[str, str] = field(default_factory=dict)
    """Role -> version, as in checkpoints."""


class CorrectionSet:
    """One version on disk. Files are compared with their digests when they are read."""

    def __init__(self, folder: Path) -> None:
        """Raises CorruptFileError when the folder is no set, or its manifest was changed."""
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
            raise CorruptFileError(f"{folder} is no set of corrections; make one with `wovr correct`")
        if manifest.get("schema") != SCHEMA:
            raise CorruptFileError(f"{folder} has format {manifest.get('schema')}, this version reads {SCHEMA}")
        body = {key: value for key, value in manifest.items() if key != "version"}
        if manifest.get("version") != fingerprint(body):
            raise CorruptFileError(f"{folder / MANIFEST} does not hold what its version says; make the set again")
        self.folder = folder
        self.version = str(manifest["version"])
        self.manifest: dict[str, Any] = manifest
        try:
            self.corrections = tuple(from_dict(Correction, c, str(folder)) for c in manifest["corrections"])
            self.horizons = tuple(from_dict(Horizon, h, str(folder)) for h in manifest["horizons"])
            self._files = {str(name): str(digest) for name, digest in manifest["files"].items()}
        except (KeyError, TypeError, AttributeError, WovrError) as error:
            raise CorruptFileError(f"{folder / MANIFEST} cannot be read ({error})") from error

    def rollout(self, rollout_id: str) -> Rollout:
        """A corrected rollout, or a sibling of one. Raises CorruptFileError."""
        return read_rollout(self._file(ROLLOUTS, rollout_id))

    def replay(self, rollout_id: str) -> Episode | None:
        """What the rollout's actions really led to, from the same instant; None where that is not known."""
        if f"{REPLAYS}/{rollout_id}{SUFFIX}" not in self._files:
            return None
        return read_episode(self._file(REPLAYS, rollout_id))

    def groups(self) -> Iterator[RolloutGroup]:
        """All rollouts of the set with their siblings, as they were imagined, group by group."""
        members: dict[str, list[str]] = {}
        for name in sorted(self._files):
            if name.startswith(f"{ROLLOUTS}/"):
                summary = read_rollout_summary(self._file(ROLLOUTS, Path(name).stem))
                members.setdefault(summary.group_id, []).append(Path(name).stem)
        for group, names in members.items():
            yield RolloutGroup(group, tuple(self.rollout(name) for name in names))

    def verify(self) -> None:
        """Compare every file with its digest. Raises CorruptFileError."""
        for name in self._files:
            self._file(Path(name).parent.name, Path(name).stem)

    def _file(self, kind: str, rollout_id: str) -> Path:
        name = f"{kind}/{rollout_id}{SUFFIX}"
        path = self.folder / name
        if name not in self._files:
            raise CorruptFileError(f"{self.folder} holds no {name}")
        if not path.is_file() or sha256_file(path) != self._files[name]:
            raise CorruptFileError(f"{path} is missing or was changed since the set was made; make the set again")
        return path


def write_corrections(
    parent: Path, content: Corrections, rollouts: Mapping[str, Path], replays: Mapping[str, Path]
) -> CorrectionSet:
    """Write `parent/<version>`, whole or not at all; a version that is there already is verified and left alone.

    Args:
        rollouts: id -> file, of the corrected ones and their siblings.
        replays: id -> file, of corrected rollouts.

    Raises:
        WovrError: nothing to correct, a corrected rollout without its file, or a full disk.
    """
    if not content.corrections:
        raise WovrError("there is nothing to correct: no rollout carries an annotation, and the audit found no fault")
    lacking = [c.rollout for c in content.corrections if c.rollout not in rollouts]
    if lacking:
        raise WovrError(f"rollout {lacking[0]} is to be corrected but its file is not known")
    sources = {f"{ROLLOUTS}/{name}{SUFFIX}": path for name, path in rollouts.items()}
    sources |= {f"{REPLAYS}/{name}{SUFFIX}": path for name, path in replays.items()}
    body = {
        "schema": SCHEMA,
        "kind": KIND,
        "corrections": [asdict(c) for c in content.corrections],
        "horizons": [asdict(h) for h in content.horizons],
        "provenance": dict(content.provenance),
        "lineage": dict(content.lineage),
        "files": {name: sha256_file(path) for name, path in sorted(sources.items())},
    }
    body = json.loads(json.dumps(body))
    version = fingerprint(body)
    folder = parent / version
    if not folder.exists():
        with explain_disk_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=parent, prefix=f".{version}."))
            try:
                for name, path in sources.items():
                    (scratch / name).parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, scratch / name)
                write_json(scratch / MANIFEST, body | {"version": version})
                scratch.chmod(0o755)
                scratch.rename(folder)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
            fsync_directory(parent)
    found = CorrectionSet(folder)
    found.verify()
    return found


def corrections_version(folder: Path | None) -> dict[str, str]:
    """{"corrections": version} for a stage's inputs, or nothing without corrections."""
    return {} if folder is None else {KIND: CorrectionSet(folder).version}


def reference_of(frame: Frames) -> str:
    """What tells episodes apart: a digest of the first frame (H, W, 3), which rollouts carry as their reference."""
    return hashlib.sha256(frame.tobytes()).hexdigest()[:16]


def counts(corrections: Sequence[Correction]) -> dict[str, int]:
    """How much a set corrects, for people and for logs."""
    labels = [label for c in corrections for label in c.labels]
    return {
        "rollouts": len(corrections),
        "negative_frames": sum(label.last - label.first + 1 for label in labels if not label.success),
        "positive_frames": sum(label.last - label.first + 1 for label in labels if label.success),
        "masked_rollouts": sum(c.masked_from is not None for c in corrections),
        "world_model_samples": sum(c.window is not None for c in corrections),
    }
