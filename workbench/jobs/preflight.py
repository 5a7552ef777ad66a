"""Before a launch: how long it will take, what it needs, what is there already, and whether it can be at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from workbench.jobs.kinds import find_kind
from workbench.jobs.queue import Capacity
from workbench.jobs.records import all_jobs, jobs_folder
from workbench.jobs.spec import JobSpec
from workbench.jobs.workload import WORKLOADS, Estimate, estimate, folder_mb, measured_stages
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import read_json, wovr_home
from wovr_core.rounds import plain_stage
from wovr_core.run_folder import describe_machine, is_foreign
from wovr_core.stages.folder import read_metrics

KEEP_FREE_MB = 500
"""Of the disk, beyond what the job writes."""


@dataclass(frozen=True)
class StagePlan:
    """What a launch means for one stage."""

    name: str
    plan: str
    """"kept": finished, not run again. "resumed", "run", or "refused": its settings were others."""
    seconds: float | None = None
    """Still to come; None: not measured on this machine."""
    megabytes: float | None = None
    basis: str = ""


@dataclass(frozen=True)
class Preflight:
    """The whole launch."""

    run: str
    folder: str
    exists: bool
    stages: tuple[StagePlan, ...]
    seconds: float | None
    """Of what is known; None: nothing is, or less than half of the stages to come."""
    unknown: tuple[str, ...]
    """Stages whose time is not known."""
    disk_mb: float | None
    free_disk_mb: float
    memory_mb: float | None
    """The most that such a job was seen to need."""
    memory_basis: str
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]
    """Why it cannot be; empty: it can."""

    def check(self) -> None:
        """Raises WovrError with the first reason why it cannot be."""
        if self.refusals:
            raise WovrError(self.refusals[0])


def preflight(
    spec: JobSpec, home: Path | None = None, capacity: Capacity | None = None, here: bool = True
) -> Preflight:
    """Look, and change nothing.

    Args:
        capacity: of this machine; by default what `Capacity.read` says.
        here: it will run on this machine; else what fits is for the backend to say when it is submitted.

    Raises:
        UnknownNameError, WovrError: as `JobSpec.check`.
    """
    spec.check()
    home = home or wovr_home()
    run = home / "runs" / spec.run
    plans, refusals = _plans(spec, home, run)
    memory, memory_basis = _memory(spec, home)
    if here:
        refusals += _misfits(spec, capacity or Capacity.read(jobs_folder(home)), memory, memory_basis)
    free = shutil.disk_usage(next(p for p in (run, *run.parents) if p.exists())).free / 1e6
    known = [plan.seconds for plan in plans if plan.seconds is not None]
    unknown = tuple(plan.name for plan in plans if plan.seconds is None and plan.plan != "refused")
    timed = sum(plan.seconds is not None and plan.plan != "kept" for plan in plans)
    sizes = [plan.megabytes for plan in plans if plan.megabytes is not None]
    disk = sum(sizes) if sizes else None
    if (disk or 0.0) + KEEP_FREE_MB > free:
        refusals.append(
            f"it writes about {disk or 0:,.0f} MB below {home} and {KEEP_FREE_MB} MB are to stay free there, "
            f"but only {free:,.0f} MB are; make room or set WOVR_HOME to another disk"
        )
    return Preflight(
        run=spec.run,
        folder=str(run),
        exists=(run / "run.json").is_file(),
        stages=tuple(plans),
        seconds=sum(known) if known and len(unknown) <= timed else None,
        unknown=unknown,
        disk_mb=disk,
        free_disk_mb=free,
        memory_mb=memory,
        memory_basis=memory_basis,
        warnings=tuple(_warnings(spec, memory, here)),
        refusals=tuple(refusals),
    )


def _plans(spec: JobSpec, home: Path, run: Path) -> tuple[list[StagePlan], list[str]]:
    kind = find_kind(spec.kind)
    refusals = []
    if (run / "run.json").is_file():
        with contextlib.suppress(CorruptFileError, KeyError, TypeError):
            made_with = read_json(run / "run.json")["recipe"]
            if spec.recipe and made_with != spec.recipe:
                refusals.append(
                    f"the run {spec.run} belongs to the recipe {made_with!r}, not {spec.recipe!r}: name another run"
                )
    elif is_foreign(run):
        refusals.append(f"{run} is not empty and not a run: name another run")
    if not kind.stages or not spec.recipe:
        return [], refusals
    config = _config(spec)
    measured = measured_stages(home / "runs", describe_machine())
    plans = []
    for name in kind.stages(spec):
        differing = _differs(run / name, name, config)
        if (run / name / "outputs.json").is_file() and not differing:
            plans.append(StagePlan(name, "kept", 0.0, 0.0))
        elif differing:
            plans.append(StagePlan(name, "refused", basis=differing))
            refusals.append(
                f"the run {spec.run} made its stage {name} with {differing}: name another run, "
                f"or delete {run / name} to make it again"
            )
        else:
            plans.append(_to_do(name, run, estimate(name, config, measured)))
    return plans, refusals


def _config(spec: JobSpec) -> dict[str, Any]:
    from wovr_core import recipes
    from wovr_core.config import override, to_dict

    return to_dict(override(recipes.get(spec.recipe), spec.overrides))


def _to_do(name: str, run: Path, needs: Estimate) -> StagePlan:
    """What is done of a stage already is taken off: what is behind its newest checkpoint, or its last line."""
    folder = run / name
    if not (folder / "config.json").is_file():
        return StagePlan(name, "run", needs.seconds, needs.megabytes, needs.basis)
    spent = 0.0
    with contextlib.suppress(CorruptFileError, KeyError, TypeError, ValueError):
        lines = read_metrics(folder / "metrics.jsonl")
        elapsed = folder / "elapsed.json"
        spent = (
            float(read_json(elapsed)["seconds"]) if elapsed.is_file() else float(lines[-1]["seconds"] if lines else 0)
        )
    seconds = None if needs.seconds is None else max(0.0, needs.seconds - spent)
    megabytes = None if needs.megabytes is None else max(0.0, needs.megabytes - folder_mb(folder))
    return StagePlan(name, "resumed", seconds, megabytes, needs.basis)


def _differs(folder: Path, name: str, config: Mapping[str, Any]) -> str:
    """ "key = old, now new" for the first setting in which a stage that was begun differs; "" if none does."""
    workload = WORKLOADS.get(plain_stage(name))
    try:
        found = read_json(folder / "config.json")["config"]
    except (CorruptFileError, KeyError, TypeError):
        return ""
    return _first_difference(found, config[workload.config], workload.config) if workload else ""


def _first_difference(old: Any, new: Any, key: str) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        parts = (_first_difference(old.get(n), new.get(n), f"{key}.{n}") for n in sorted({*old, *new}))
        return next(filter(None, parts), "")
    return "" if old == new else f"{key} = {old}, now {new}"


def _memory(spec: JobSpec, home: Path) -> tuple[float | None, str]:
    """The peak of earlier jobs of this kind and recipe."""
    peaks = []
    for folder in all_jobs(jobs_folder(home)):
        with contextlib.suppress(CorruptFileError, KeyError, TypeError):
            past, state = folder.job()["spec"], folder.state()
            if (past["kind"], past["recipe"]) == (spec.kind, spec.recipe) and state.peak_memory_mb:
                peaks.append((state.peak_memory_mb, folder.id))
    if not peaks:
        return None, "no such job has run here yet"
    peak, job = max(peaks)
    return peak, f"measured in job {job}"


def _misfits(spec: JobSpec, capacity: Capacity, memory: float | None, memory_basis: str) -> list[str]:
    """Why it could never run on this machine."""
    found = []
    try:
        capacity.refuse(spec.to_json()["resources"])
    except WovrError as error:
        found.append(str(error))
    if memory is not None and memory > capacity.memory_mb:
        found.append(
            f"it needed {memory:,.0f} MB ({memory_basis}); this machine has {capacity.memory_mb:,} MB for jobs"
        )
    return found


def _warnings(spec: JobSpec, memory: float | None, here: bool) -> list[str]:
    warnings = []
    if memory is not None and memory > spec.resources.memory_mb:
        warnings.append(
            f"it reserves {spec.resources.memory_mb:,} MB, but needed {memory:,.0f} MB before: raise --memory"
        )
    available = psutil.virtual_memory().available / 1e6
    if here and spec.resources.memory_mb > available:
        warnings.append(f"it reserves {spec.resources.memory_mb:,} MB, but only {available:,.0f} MB are free now")
    return warnings
