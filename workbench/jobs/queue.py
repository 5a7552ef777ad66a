"""Whose turn it is. No daemon decides: every waiting supervisor does, under one lock, from the same files.

The order: priority, then time, then id. A job that waits for cores, memory or GPUs holds up all behind it, so
that small ones never starve a large one; one that waits for something of its own (its run folder, a robot, the
time of its next attempt) is passed over meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.jobs.records import JobFolder, State, open_jobs, run_is_locked
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import read_json, write_json

MEMORY_SHARE = 0.9
"""Of the machine's memory that jobs may reserve."""


@dataclass(frozen=True)
class Place:
    """How a refusal speaks of where jobs run, and of what would help."""

    name: str
    more: str
    nobody: str
    have: str
    custom: str
    """With {name} and {amount}."""


HERE = Place(
    name="this machine",
    more="submit it to a cluster",
    nobody="this machine does not have",
    have="it has",
    custom='name what it has in jobs/machine.json under "custom"',
)


@dataclass(frozen=True)
class Capacity:
    """What this machine has to give to jobs."""

    cores: int
    memory_mb: int
    gpus: int = 0
    custom: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of_machine() -> Capacity:
        """Measured: the cores that this process may use, most of the memory, NVIDIA devices."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        gpus = sum(p.name.removeprefix("nvidia").isdecimal() for p in Path("/dev").glob("nvidia*"))
        return Capacity(len(os.sched_getaffinity(0)), int(MEMORY_SHARE * memory / 1e6), gpus)

    @staticmethod
    def read(jobs: Path) -> Capacity:
        """What jobs/machine.json says, else what is measured. Raises CorruptFileError."""
        path = jobs / "machine.json"
        if not path.exists():
            return Capacity.of_machine()
        try:
            return Capacity(**read_json(path))
        except TypeError as error:
            raise CorruptFileError(f"{path} does not say what the machine has ({error}); delete it") from error

    def write(self, jobs: Path) -> None:
        values = {"cores": self.cores, "memory_mb": self.memory_mb, "gpus": self.gpus, "custom": dict(self.custom)}
        write_json(jobs / "machine.json", values)

    def refuse(self, resources: Mapping[str, Any], place: Place = HERE) -> None:
        """Raises WovrError when a job with these resources could never start there.

        place: whose capacity this is, for the message.
        """
        for name, unit in (("cores", "cores"), ("memory_mb", "MB of memory"), ("gpus", "GPUs")):
            if resources[name] > getattr(self, name):
                raise WovrError(
                    f"the job asks for {name} = {resources[name]}, {place.name} has {getattr(self, name)} {unit}"
                    f"{' for jobs' if name == 'memory_mb' else ''}; ask for less, or {place.more}"
                )
        for name, amount in resources["custom"].items():
            if amount > self.custom.get(name, 0):
                known = ", ".join(f"{k} = {v}" for k, v in sorted(self.custom.items())) or "none"
                raise WovrError(
                    f"the job asks for {name} = {amount}, which {place.nobody} ({place.have}: {known}); "
                    + place.custom.format(name=name, amount=amount)
                )


@dataclass(frozen=True)
class Claim:
    """One job as the queue sees it."""

    id: str
    run: str
    resources: Mapping[str, Any]
    priority: int = 0
    queued_at: float = 0.0
    not_before: float = 0.0
    run_taken: bool = False
    """A process that is no job's works in its run folder."""


def admit(waiting: Iterable[Claim], running: Sequence[Claim], capacity: Capacity, now: float) -> dict[str, str]:
    """For each that waits: "" if it may start now, else why it may not."""
    free = {name: getattr(capacity, name) for name in ("cores", "memory_mb", "gpus")}
    things = dict(capacity.custom)
    runs: dict[str, str] = {}
    for claim in running:
        _take(claim, free, things, runs)
    verdicts: dict[str, str] = {}
    ahead = ""
    for claim in sorted(waiting, key=lambda c: (-c.priority, c.queued_at, c.id)):
        own = _own_reason(claim, things, runs, now)
        verdicts[claim.id] = reason = own or (f"behind job {ahead}" if ahead else _short_of(claim, free))
        if not reason:
            _take(claim, free, things, runs)
        elif not own:
            ahead = ahead or claim.id
    return verdicts


def _take(claim: Claim, free: dict[str, int], things: dict[str, int], runs: dict[str, str]) -> None:
    for name in free:
        free[name] -= claim.resources[name]
    for name, amount in claim.resources["custom"].items():
        things[name] = things.get(name, 0) - amount
    runs[claim.run] = claim.id


def _own_reason(claim: Claim, things: Mapping[str, int], runs: Mapping[str, str], now: float) -> str:
    if claim.not_before > now:
        return f"its next attempt begins in {claim.not_before - now:.0f} s"
    if claim.run in runs:
        return f"job {runs[claim.run]} works in the same run {claim.run}"
    if claim.run_taken:
        return f"another wovr works in the run {claim.run}"
    short = [name for name, amount in claim.resources["custom"].items() if amount > things.get(name, 0)]
    return f"waits for {short[0]}" if short else ""


def _short_of(claim: Claim, free: Mapping[str, int]) -> str:
    units = {"cores": ("core", "cores"), "memory_mb": ("MB of memory",) * 2, "gpus": ("GPU", "GPUs")}
    for name, (one, several) in units.items():
        wanted = claim.resources[name]
        if wanted > free[name]:
            return f"waits for {wanted} {one if wanted == 1 else several} ({max(0, free[name])} free)"
    return ""


def look(jobs: Path, now: float) -> dict[str, str]:
    """`admit` for the jobs of a folder as they stand. Call it with the queue's lock held.

    Jobs that wait without a supervisor do not count: nobody would start them.
    """
    waiting, running = [], []
    for folder in open_jobs(jobs):
        with contextlib.suppress(CorruptFileError):
            state = folder.state()
            if state.state == "running" and (folder.supervised() or (state.process and state.process.alive())):
                running.append(_claim(folder, state))
            elif state.state == "queued" and folder.supervised() and not folder.stop_asked():
                waiting.append(_claim(folder, state))
    busy = {claim.run for claim in running}
    waiting = [
        Claim(**{**vars(c), "run_taken": c.run not in busy and run_is_locked(jobs.parent / "runs" / c.run)})
        for c in waiting
    ]
    return admit(waiting, running, Capacity.read(jobs), now)


def _claim(folder: JobFolder, state: State) -> Claim:
    spec = folder.job()["spec"]
    return Claim(folder.id, spec["run"], spec["resources"], spec["priority"], state.queued_at, state.not_before)
