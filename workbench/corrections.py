"""Annotations into corrections: which frames, from which rollouts, count how (see wovr_core.data.corrections).

What a span means:
- "missed success": its frames are positives of the reward.
- "false success": its frames are negatives of the reward; what leads to its first frame and on is masked.
- any other label: masked likewise; those of its frames that were judged successful are negatives.
All of them: the real course of the same actions becomes a sample of the world model, drawn more often around the span.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median_low
from typing import Any, Literal

import numpy as np

from wovr_core.audit.outcomes import first_success_step
from wovr_core.config import from_dict, to_dict
from wovr_core.data.corrections import (
    Correction,
    Corrections,
    CorrectionSet,
    FrameLabel,
    Horizon,
    WindowWeight,
    counts,
    reference_of,
    write_corrections,
)
from wovr_core.data.episode_files import (
    SUFFIX,
    EpisodeSet,
    RolloutSummary,
    read_episode,
    read_rollout,
    read_rollout_summary,
)
from wovr_core.errors import WovrError
from wovr_core.files import fingerprint, sha256_file
from wovr_core.seeding import numpy_generator
from wovr_core.types import CHUNK

FALSE, MISSED = "false_success", "missed_success"


@dataclass(frozen=True)
class CorrectionsConfig:
    """What becomes of flags."""

    kind: Literal["flagged", "control"] = "flagged"
    """control: in place of each flagged rollout an unflagged one, drawn by seed, labelled by what its replay shows."""
    count: int | None = None
    """At most so many rollouts, drawn by seed; None for all."""
    noise: float = 0.0
    """Share of the flagged rollouts whose flags are put on an unflagged one instead: wrong flags, for studies."""
    seed: int = 0
    reward_weight: float = 3.0
    window_weight: float = 6.0
    elsewhere_weight: float = 1.0
    """Of the windows of a replay that are not around the span."""
    margin: int = CHUNK
    """Frames before and after the span that count as around it."""
    horizon_share: float = 0.5
    """A start is bounded where at least this share of the successes imagined from it is flagged."""


@dataclass(frozen=True)
class Flag:
    """One annotation as it stands: which frames of which rollout, and what is wrong there."""

    rollout: str
    span: str
    version: int
    first: int
    last: int
    """Inclusive."""
    label: str
    severity: int
    author: str


@dataclass(frozen=True)
class Source:
    """Imagined rollouts, and the replays of their actions as far as there are any."""

    rollouts: Path
    replays: Path | None = None

    def replay(self, rollout_id: str) -> Path | None:
        path = self.replays / f"{rollout_id}{SUFFIX}" if self.replays else None
        return path if path and path.is_file() else None


def source_of(run: Path) -> Source:
    """The audited rollouts of a run. Raises WovrError for a run that has imagined none."""
    rollouts, replays = run / "imagine" / "rollouts", run / "audit" / "episodes"
    if not rollouts.is_dir():
        raise WovrError(f"{run} has no imagined rollouts to correct; run `wovr run imagine` and `audit` first")
    return Source(rollouts, replays if replays.is_dir() else None)


def make(
    source: Source, flags: Sequence[Flag], config: CorrectionsConfig, parent: Path, only: Sequence[str] | None = None
) -> CorrectionSet:
    """Write the version that these flags give below `parent`.

    Args:
        only: ids of rollouts that may be used at all; None for all of the source's.

    Raises:
        WovrError: no flag, flags on rollouts that are not there, or too few unflagged rollouts for control or noise.
    """
    maker = _Maker(source, flags, config, only)
    content, rollouts = maker.content()
    replays = {c.rollout: path for c in content.corrections if (path := source.replay(c.rollout))}
    return write_corrections(parent, content, rollouts, replays)


def remake(source: Source, existing: CorrectionSet, parent: Path) -> CorrectionSet:
    """A version made again from its own record of annotations. Equal versions are equal bytes.

    Raises WovrError when the source no longer gives the same.
    """
    told = existing.manifest["provenance"]
    config = from_dict(CorrectionsConfig, told["config"], str(existing.folder))
    flags = [from_dict(Flag, flag, str(existing.folder)) for flag in told["annotations"]]
    made = make(source, flags, config, parent, told["only"])
    if made.version != existing.version:
        raise WovrError(
            f"these rollouts give version {made.version}, not {existing.version}: they are not those it was made from"
        )
    return made


class _Maker:
    """The steps from flags to corrections."""

    def __init__(self, source: Source, flags: Sequence[Flag], config: CorrectionsConfig, only: Sequence[str] | None):
        if not 0 <= config.noise <= 1:
            raise WovrError(f"noise is a share of the flags from 0 to 1, not {config.noise}")
        self.source, self.config, self.only = source, config, only
        self.paths = EpisodeSet(source.rollouts).paths
        unknown = [f.rollout for f in flags if f.rollout not in self.paths]
        if unknown:
            raise WovrError(f"rollout {unknown[0]} carries an annotation but is not in {source.rollouts}")
        allowed = set(self.paths if only is None else only)
        self.summaries = {n: read_rollout_summary(p) for n, p in self.paths.items() if n in allowed}
        self.flags = sorted((f for f in flags if f.rollout in allowed), key=lambda f: (f.rollout, f.first, f.span))

    def content(self) -> tuple[Corrections, dict[str, Path]]:
        flagged = self._by_rollout(self.flags)
        if not flagged:
            raise WovrError(
                "no rollout carries an annotation, and the audit found no fault: there is nothing to correct"
            )
        chosen = self._draw(sorted(flagged), "count", self.config.count)
        chosen_flags = {name: flagged[name] for name in chosen}
        unflagged = sorted(set(self.summaries) - set(flagged))
        if self.config.kind == "control":
            pairs = self._paired(chosen, unflagged)
            corrections = [self._control(pairs[name], chosen_flags[name]) for name in chosen]
            horizons: tuple[Horizon, ...] = ()
        else:
            used = self._with_noise(chosen_flags, unflagged)
            corrections = [self._corrected(name, used[name]) for name in sorted(used)]
            horizons = self._horizons(corrections)
        corrections = sorted(corrections, key=lambda c: c.rollout)
        groups = {self.summaries[c.rollout].group_id for c in corrections}
        files = {n: self.paths[n] for n, s in self.summaries.items() if s.group_id in groups}
        provenance = {
            "config": to_dict(self.config),
            "annotations": [asdict(f) for f in self.flags],
            "only": None if self.only is None else sorted(self.only),
            "counts": counts(corrections),
        }
        version = fingerprint({n: sha256_file(p) for n, p in self.paths.items()})
        return Corrections(tuple(corrections), horizons, provenance, {"rollouts": version}), files

    def _draw(self, names: Sequence[str], purpose: str, count: int | None) -> list[str]:
        order = numpy_generator(self.config.seed, "corrections", purpose).permutation(len(names))
        return sorted(names[i] for i in order[:count])

    def _by_rollout(self, flags: Sequence[Flag]) -> dict[str, list[Flag]]:
        found: dict[str, list[Flag]] = {}
        for flag in flags:
            found.setdefault(flag.rollout, []).append(flag)
        return found

    def _paired(self, flagged: Sequence[str], unflagged: Sequence[str]) -> dict[str, str]:
        """An unflagged rollout for each flagged one: of the same task and imagined outcome while there are any."""
        order = numpy_generator(self.config.seed, "corrections", "unflagged").permutation(len(unflagged))
        left = [unflagged[i] for i in order]
        if len(left) < len(flagged):
            raise WovrError(f"{len(flagged)} unflagged rollouts are needed, there are {len(left)}; set a lower count")
        pairs = {}
        for name in flagged:
            wanted = self.summaries[name]
            best = min(left, key=lambda other: _unlike(self.summaries[other], wanted))  # the first of equals
            left.remove(best)
            pairs[name] = best
        return pairs

    def _with_noise(self, flags: Mapping[str, list[Flag]], unflagged: Sequence[str]) -> dict[str, list[Flag]]:
        wrong = self._draw(sorted(flags), "noise", round(self.config.noise * len(flags)))
        moved = self._paired(wrong, unflagged)
        return {
            moved.get(name, name): [replace(f, rollout=moved.get(name, name)) for f in own]
            for name, own in flags.items()
        }

    def _corrected(self, name: str, flags: Sequence[Flag]) -> Correction:
        summary = self.summaries[name]
        labels = [label for flag in flags for label in self._labels(summary, flag)]
        masked = [f.first for f in flags if f.label != MISSED]
        first, last = min(f.first for f in flags), max(f.last for f in flags)
        return Correction(name, tuple(labels), min(masked, default=None), self._window(summary, first, last))

    def _labels(self, summary: RolloutSummary, flag: Flag) -> Iterator[FrameLabel]:
        last, weight = min(flag.last, summary.length), self.config.reward_weight
        if flag.label in (FALSE, MISSED):
            yield FrameLabel(flag.first, last, flag.label == MISSED, weight)
            return
        for begin, end in runs(summary.p_success >= _threshold(summary)):
            if max(begin, flag.first) <= min(end, last):
                yield FrameLabel(max(begin, flag.first), min(end, last), False, weight)

    def _control(self, name: str, flags: Sequence[Flag]) -> Correction:
        """What its rollout would have had, had it been flagged: labels at the same weight, but true to the frame, and a
        window that begins as many frames before them.

        As many frames are labelled as in the flagged one only where no success was imagined; where one was, it is the
        control's own run of success, longer or shorter.
        """
        summary = self.summaries[name]
        labelling = [f for f in flags if f.label in (FALSE, MISSED)] or list(flags)
        first, last = min(f.first for f in labelling), min(max(f.last for f in labelling), summary.length)
        lead = first - min(f.first for f in flags)
        first = min(first, last)
        step = first_success_step(summary.p_success, _threshold(summary))
        if step is not None:
            first, last = success_run(summary.p_success, _threshold(summary), step)
        labels = self._as_it_went(name, first, last, step is not None)
        return Correction(name, labels, None, self._window(summary, max(first - lead, 0), last))

    def _as_it_went(self, name: str, first: int, last: int, imagined: bool) -> tuple[FrameLabel, ...]:
        """Labels of frames first..last by what the replay's success says of each: a real success that comes a few
        frames after the imagined one is none before. Without a replay what was imagined is taken as right, since nobody
        objected.
        """
        weight, replay = self.config.reward_weight, self.source.replay(name)
        if replay is None:
            return (FrameLabel(first, last, imagined, weight),)
        success = read_episode(replay).success[first : last + 1]
        stretches = [(a, b, value) for value in (False, True) for a, b in runs(success == value)]
        return tuple(FrameLabel(first + a, first + b, value, weight) for a, b, value in sorted(stretches))

    def _window(self, summary: RolloutSummary, first: int, last: int) -> WindowWeight | None:
        if self.source.replay(summary.id) is None:
            return None
        margin, c = self.config.margin, self.config
        first, last = max(first - margin, 0), min(last + margin, summary.length)
        return WindowWeight(first, last, c.window_weight, c.elsewhere_weight)

    def _horizons(self, corrections: Sequence[Correction]) -> tuple[Horizon, ...]:
        """Where a start's imagined successes are mostly flagged: the median of its flagged frames, so that one early
        accident does not bound a start that is otherwise sound."""
        frames: dict[tuple[str, int], list[int]] = {}
        for c in corrections:
            if c.masked_from is not None:
                rollout = read_rollout(self.paths[c.rollout])
                key = (reference_of(rollout.context_frames[0]), rollout.start.step)
                frames.setdefault(key, []).append(c.masked_from)
        imagined: dict[tuple[str, int], int] = dict.fromkeys(frames, 0)
        for name, summary in self.summaries.items():
            if summary.imagined_success:
                rollout = read_rollout(self.paths[name])
                key = (reference_of(rollout.context_frames[0]), rollout.start.step)
                if key in imagined:
                    imagined[key] += 1
        return tuple(
            Horizon(reference, step, median_low(found))
            for (reference, step), found in sorted(frames.items())
            if len(found) >= self.config.horizon_share * imagined[reference, step]
        )


def runs(flags: Any) -> Iterator[tuple[int, int]]:
    """(first, last) of each stretch of true values of a (N,) bool array."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]])))
    yield from ((int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True))


def success_run(p_success: Any, threshold: float, step: int) -> tuple[int, int]:
    """The stretch of frames judged successful that begins at frame `step`."""
    return next((step, last) for first, last in runs(p_success >= threshold) if first <= step <= last)


def _unlike(other: RolloutSummary, wanted: RolloutSummary) -> tuple[bool, bool]:
    return str(other.task) != str(wanted.task), other.imagined_success != wanted.imagined_success


def _threshold(summary: RolloutSummary) -> float:
    return float(summary.info.get("success_threshold", "0.5"))
