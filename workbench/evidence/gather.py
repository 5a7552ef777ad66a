"""Gathers the evidence beside rollouts, lazily, and keeps a summary of it in the store.

Summaries come from small files alone, ten thousand in seconds; `EvidenceStore.of` reads the rollout as well, and its
replay or recorded episode where the audit has not compared them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy import select

from workbench.evidence.evidence import Evidence, RealSide, Summary
from workbench.evidence.objects import ObjectError, Positions, measure, simulator_positions
from workbench.evidence.rows import SummaryRows, read_summary, summary_version
from workbench.evidence.sources import AuditEntry, RunSources, read_sources, signature_of
from workbench.store.items import REAL, Item, first_divergent_frame
from workbench.store.review_tables import EvidenceRow
from workbench.store.rows import items_of
from workbench.store.store import Store
from workbench.store.tables import Record, RolloutRow, Run
from wovr_core.audit.outcomes import audit_rollout, imagined_success_step
from wovr_core.data.episode_files import read_episode, read_rollout
from wovr_core.errors import WovrError
from wovr_core.types import Episode, FloatArray, Rollout

_NOT_MEASURED = "not measured: ask for objects"


class EvidenceError(WovrError):
    """There is no evidence to be had about this."""


class EvidenceStore:
    """Evidence of a store's rollouts. Safe for several threads."""

    def __init__(self, store: Store, positions: Positions = simulator_positions) -> None:
        """positions: tells where things really were; only asked when the object-state error is."""
        self._store, self._positions = store, positions
        self._rows = SummaryRows(store)
        self._guard = threading.RLock()
        self._sources: dict[Path, RunSources] = {}

    def of(self, rollout_id: str, objects: bool = False) -> Evidence:
        """All that is known of a rollout.

        Args:
            objects: measure the object-state error as well, which builds the simulator's scene (seconds). Once
                measured its summary is kept.

        Raises:
            EvidenceError: no such record, or one that was executed, not imagined.
            CorruptFileError: the rollout's file cannot be read.
        """
        with self._store.read() as session:
            items = items_of(session, [rollout_id])
            run = session.execute(
                select(Run.id, Run.path).join(Record, Record.run_id == Run.id).where(Record.id == rollout_id)
            ).first()
        if not items or run is None:
            raise EvidenceError(f"the store has no rollout {rollout_id!r}; `wovr store rebuild` takes in new runs")
        item = items[0]
        if item.kind == REAL:
            raise EvidenceError(f"{rollout_id} is an episode that was executed: there is nothing imagined about it")
        sources = self._sources_of(Path(run[1]))
        evidence, real = self._gather(item, int(run[0]), sources)
        if objects:
            evidence = self._with_objects(evidence, read_rollout(item.path), real, sources)
        self._rows.keep(evidence.id, evidence.version, summary_of(evidence))
        return evidence

    def summaries(self, run_ids: Sequence[int]) -> dict[str, Summary]:
        """Record id -> summary, of every readable rollout of these runs; what is stale is made anew and kept."""
        found: dict[str, Summary] = {}
        for run_id in run_ids:
            found |= self._run_summaries(run_id)
        return found

    def _run_summaries(self, run_id: int) -> dict[str, Summary]:
        columns = (Record.id, Record.stage, Record.name, Record.stamp, Record.success, Record.p_success)
        with self._store.read() as session:
            path = session.scalar(select(Run.path).where(Run.id == run_id))
            rows = session.execute(
                select(*columns, RolloutRow.threshold, EvidenceRow.version, EvidenceRow.summary)
                .join(RolloutRow, RolloutRow.record_id == Record.id)
                .outerjoin(EvidenceRow, EvidenceRow.record_id == Record.id)
                .where(Record.run_id == run_id, Record.kind != REAL, Record.broken.is_(None))
            ).all()
        if path is None or not rows:
            return {}
        sources = self._sources_of(Path(path))
        found: dict[str, Summary] = {}
        stale: list[tuple[str, str, Summary]] = []
        for row in rows:
            version = summary_version(row.stamp, sources.signature)
            if row.version == version and (kept := read_summary(row.summary)):
                found[row.id] = kept
                continue
            base = Summary(
                imagined_success=row.success,
                p_success=row.p_success if row.p_success >= 0 else None,
                reward_threshold=row.threshold,
                divergence_threshold=sources.threshold,
            )
            found[row.id] = _with_sources(base, sources, row.stage, row.name)
            stale.append((row.id, version, found[row.id]))
        self._rows.write(stale)
        return found

    def _gather(self, item: Item, run_id: int, sources: RunSources) -> tuple[Evidence, Episode | None]:
        rollout = read_rollout(item.path)
        missing: dict[str, str] = {}
        audit = sources.audit(item.stage, item.name)
        real, side = self._real(item, run_id, rollout, audit, missing)
        divergence, real_success = _outcome(rollout, audit, real, side, missing)
        scores = sources.scores(item.stage, item.name)
        if scores is None:
            missing["seeds"] = "nobody has imagined it again with other seeds; `wovr review measure RUN` does"
        if item.threshold is None:
            missing["reward_threshold"] = "the rollout does not say by which threshold it was judged"
        missing["object_error"] = self._objects_missing(sources, real, side)
        known = item.threshold is not None
        evidence = Evidence(
            id=item.id,
            version=summary_version(item.stamp, sources.signature),
            frames=len(rollout.frames),
            imagined_success=item.success,
            imagined_step=imagined_success_step(rollout) if known else None,
            p_success=rollout.p_success,
            reward_threshold=item.threshold,
            real=side,
            real_success=real_success,
            divergence=divergence,
            divergence_threshold=sources.threshold,
            first_divergent=None if divergence is None else first_divergent_frame(divergence, sources.threshold),
            seeds=scores,
            object_error=None,
            missing=missing,
        )
        return evidence, real

    def _real(
        self, item: Item, run_id: int, rollout: Rollout, audit: AuditEntry | None, missing: dict[str, str]
    ) -> tuple[Episode | None, RealSide | None]:
        """The replay, else the recorded episode from the rollout's start on; `missing` is told why there is none."""
        if audit is not None:
            try:
                replay = read_episode(audit.replay)
                if np.array_equal(replay.actions, rollout.actions):
                    return replay, RealSide("replay", audit.replay, 0, True)
                missing["real"] = f"the replay {audit.replay.name} executed other actions than the rollout's"
            except (WovrError, OSError) as error:
                missing["real"] = f"the replay cannot be read ({error})"
            return None, None
        with self._store.read() as session:
            found = session.execute(
                select(Record.path, Run.path)
                .join(Run, Run.id == Record.run_id)
                .where(Record.kind == REAL, Record.name == item.start_episode, Record.broken.is_(None))
                .order_by(Record.run_id != run_id, Record.id)
            ).first()
        if found is None:
            missing["real"] = f"it was not replayed, and the store has no episode {item.start_episode!r}"
            return None, None
        path = Path(found[1]) / found[0]
        try:
            episode = read_episode(path)
        except (WovrError, OSError) as error:
            missing["real"] = f"the recorded episode cannot be read ({error})"
            return None, None
        part = _from(episode, item.start_step, len(rollout.actions))
        same = np.array_equal(part.actions, rollout.actions)
        return part, RealSide("recorded", path, item.start_step, same)

    def _objects_missing(self, sources: RunSources, real: Episode | None, side: RealSide | None) -> str:
        if sources.probe is None:
            return "its run has no position probe; `wovr review measure RUN --objects` trains one"
        if real is None or side is None or not side.same_actions:
            return "its actions were not executed: where things would have been is not known"
        if real.sim_states is None:
            return "what was executed holds no simulator states"
        return _NOT_MEASURED

    def _with_objects(
        self, evidence: Evidence, rollout: Rollout, real: Episode | None, sources: RunSources
    ) -> Evidence:
        if real is None or sources.probe is None or evidence.missing["object_error"] != _NOT_MEASURED:
            return evidence
        try:
            found: ObjectError | None = measure(sources.probe, rollout.frames, real, self._positions)
        except WovrError as error:
            return replace(evidence, missing={**evidence.missing, "object_error": str(error)})
        left = {what: why for what, why in evidence.missing.items() if what != "object_error"}
        return replace(evidence, object_error=found, missing=left)

    def _sources_of(self, run: Path) -> RunSources:
        with self._guard:
            kept = self._sources.get(run)
            if kept is None or kept.signature != signature_of(run):
                self._sources[run] = kept = read_sources(run)
            return kept


def evidence_of(rollout_id: str, store: Store, objects: bool = False) -> Evidence:
    """See EvidenceStore.of; for one question. Whoever asks more keeps an EvidenceStore."""
    return EvidenceStore(store).of(rollout_id, objects)


def summary_of(evidence: Evidence) -> Summary:
    """The same in short."""
    divergence, error = evidence.divergence, evidence.object_error
    some = divergence is not None and len(divergence) > 0
    return Summary(
        imagined_success=evidence.imagined_success,
        p_success=round(float(evidence.p_success.max()), 4) if len(evidence.p_success) else None,
        reward_threshold=evidence.reward_threshold,
        divergence_threshold=evidence.divergence_threshold,
        real_success=evidence.real_success,
        peak=round(float(divergence.max()), 3) if divergence is not None and some else None,
        peak_frame=int(divergence.argmax()) if divergence is not None and some else None,
        first_divergent=evidence.first_divergent,
        disagreement=evidence.seeds.get("disagreement") if evidence.seeds else None,
        object_excess=error.excess if error else None,
        object_version=error.probe if error else None,
    )


def _with_sources(base: Summary, sources: RunSources, stage: str, name: str) -> Summary:
    audit, scores = sources.audit(stage, name), sources.scores(stage, name)
    if scores is not None:
        base = replace(base, disagreement=scores.get("disagreement"))
    if audit is None:
        return base
    divergence = np.asarray(audit.divergence, dtype=np.float32)
    return replace(
        base,
        real_success=audit.real_success,
        peak=round(float(divergence.max()), 3) if len(divergence) else None,
        peak_frame=int(divergence.argmax()) if len(divergence) else None,
        first_divergent=first_divergent_frame(audit.divergence, sources.threshold),
    )


def _outcome(
    rollout: Rollout, audit: AuditEntry | None, real: Episode | None, side: RealSide | None, missing: dict[str, str]
) -> tuple[FloatArray | None, bool | None]:
    """(divergence, real success)"""
    if audit is not None:
        return np.asarray(audit.divergence, dtype=np.float32), audit.real_success
    why = "it was not audited: its actions were not executed for real"
    if real is not None and side is not None and side.same_actions:
        if real.frames.shape[1:] == rollout.frames.shape[1:] and "success_threshold" in rollout.info:
            compared = audit_rollout(rollout, real)
            return compared.divergence, compared.real_success
        why = "the recorded frames have another size, or the rollout no threshold"
    elif side is not None:
        why = "the recorded episode executed other actions"
    missing["divergence"] = missing["real_success"] = why
    return None, None


def _from(episode: Episode, step: int, actions: int) -> Episode:
    """The part of an episode from a step on, at most so many actions long."""
    return replace(
        episode,
        frames=episode.frames[step : step + actions + 1],
        actions=episode.actions[step : step + actions],
        success=episode.success[step : step + actions + 1],
        sim_states=None if episode.sim_states is None else episode.sim_states[step : step + actions + 1],
        clean_actions=None,
        streams={},
    )
