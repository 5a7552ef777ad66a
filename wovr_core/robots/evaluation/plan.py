"""What an evaluation will do, fixed and hashed before its first trial: conditions, order, statistics, and who is who.

Trials come in blocks: one initial condition, each policy once, in an order drawn for that block. Which policy runs in
which trial stands in `sealed.json` alone, drawn from a secret salt; the plan commits to that file by its digest, so
that it can neither be guessed from the plan nor changed later. (It lies on the same disk, readable by its owner: it
keeps honest people blind, as an envelope does.)
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wovr_core.config import from_dict
from wovr_core.errors import CorruptFileError, WovrError
from wovr_core.files import read_json, sha256_file, write_bytes, write_json
from wovr_core.robots.evaluation.overlay import png
from wovr_core.robots.evaluation.records import TamperedError
from wovr_core.robots.runner import RunnerConfig
from wovr_core.types import Frames, TaskId

SCHEMA = 1
PLAN, SEALED, PICTURES = "plan.json", "sealed.json", "initial"


@dataclass(frozen=True)
class Contestant:
    """One policy of an evaluation."""

    name: str
    version: str
    path: str = ""
    """Of its checkpoint, where it has one."""


@dataclass(frozen=True)
class ProtocolConfig:
    """What is declared beforehand."""

    trials: int = 30
    """Of each policy; with a sequential test, at most."""
    design: Literal["fixed", "sequential"] = "fixed"
    """"fixed": all trials, then Barnard's exact test. "sequential": after each block an e-value, stop at 1/alpha."""
    alpha: float = 0.05
    second_labels: float = 1.0
    """Share of the trials, drawn beforehand, that another person labels from the video."""
    attempts: int = 2
    """How often a trial may be begun when a technical fault or a crash ends it. A safety abort is never repeated:
    it is a failure."""
    seed: int = 0
    """Of conditions and samplings; the assignment of policies is drawn from a secret."""
    runner: RunnerConfig = field(default_factory=RunnerConfig)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise WovrError(f"trials {self.trials}: an evaluation has at least one trial of each policy")
        if not 0 < self.alpha < 1:
            raise WovrError(f"alpha {self.alpha} is not between 0 and 1")
        if not 0 <= self.second_labels <= 1:
            raise WovrError(f"second_labels {self.second_labels} is not a share between 0 and 1")
        if self.attempts < 1:
            raise WovrError(f"attempts {self.attempts}: a trial is begun at least once")


@dataclass(frozen=True)
class ScheduledTrial:
    """One line of the schedule; it does not say who acts."""

    number: int
    """From 1, in the order of execution."""
    block: int
    """From 1."""
    condition: int
    """Number of the initial condition."""
    seed: int
    """Of the policy's sampling."""
    second_label: bool
    """Whether a second person labels it from the video."""


@dataclass(frozen=True)
class Plan:
    """A plan as it was written."""

    name: str
    created: float
    """Seconds since 1970."""
    robot: str
    task: TaskId
    simulated: bool
    """Whether the world is a simulation, whose own predicate stands in for the operator's label."""
    protocol: ProtocolConfig
    contestants: tuple[Contestant, ...]
    """By name: the order says nothing."""
    schedule: tuple[ScheduledTrial, ...]
    pictures: Mapping[str, str]
    """Initial condition -> sha256 of its picture under `initial/`."""
    seal: str
    """sha256 of sealed.json."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What sets up the robot again, for the command line."""

    def trial(self, number: int) -> ScheduledTrial:
        """Raises WovrError when the schedule has no such trial."""
        if not 1 <= number <= len(self.schedule):
            raise WovrError(f"{self.name} has no trial {number}; 1 to {len(self.schedule)}")
        return self.schedule[number - 1]


def schedule_of(protocol: ProtocolConfig, contestants: int, conditions: Sequence[int]) -> tuple[ScheduledTrial, ...]:
    """The public part: a function of protocol and conditions alone.

    Conditions are drawn without replacement as long as there are any left, then anew.
    """
    if not conditions:
        raise WovrError("an evaluation needs at least one initial condition")
    generator = np.random.default_rng([protocol.seed, 0xE7A1])
    order: list[int] = []
    while len(order) < protocol.trials:
        order += [int(c) for c in generator.permutation(np.array(sorted(set(conditions))))]
    total = protocol.trials * contestants
    second = generator.permutation(total)[: round(protocol.second_labels * total)]
    trials = []
    for index in range(total):
        block = index // contestants
        seed = int(generator.integers(2**53))
        trials.append(ScheduledTrial(index + 1, block + 1, order[block], seed, bool(np.isin(index, second))))
    return tuple(trials)


def assign(protocol: ProtocolConfig, contestants: Sequence[str], salt: str) -> list[str]:
    """Who acts in each trial: every contestant once a block, in an order that only the salt tells."""
    digest = hashlib.sha256(f"{protocol.seed}:{salt}".encode()).digest()
    generator = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
    return [contestants[i] for _ in range(protocol.trials) for i in generator.permutation(len(contestants))]


def write_plan(
    folder: Path,
    name: str,
    *,
    robot: str,
    task: TaskId,
    simulated: bool,
    protocol: ProtocolConfig,
    contestants: Sequence[Contestant],
    pictures: Mapping[int, Frames],
    settings: Mapping[str, Any] | None = None,
    salt: str | None = None,
) -> Plan:
    """Write plan, envelope and initial pictures into an empty folder; the plan last.

    Args:
        pictures: initial condition -> (H, W, 3) upright camera picture of it: what resets are laid over.
        salt: the secret; drawn unless given.

    Raises:
        WovrError: the folder holds a plan already, names that are not distinct, more than two policies.
    """
    if (folder / PLAN).exists():
        raise WovrError(f"{folder} holds a plan already, and a plan is never changed: choose another name")
    names = sorted(c.name for c in contestants)
    if not 1 <= len(names) <= 2 or len(set(names)) < len(names):
        raise WovrError(f"an evaluation is of one policy or two of different names, not {', '.join(names) or 'none'}")
    digests = {}
    for condition, picture in pictures.items():
        data = png(picture)
        write_bytes(folder / PICTURES / f"{condition}.png", data)
        digests[str(condition)] = hashlib.sha256(data).hexdigest()
    salt = salt or secrets.token_hex(16)
    sealed = {"salt": salt, "assignment": assign(protocol, names, salt)}
    envelope = folder / SEALED
    write_json(envelope, sealed)
    os.chmod(envelope, 0o600)
    plan = Plan(
        name=name,
        created=round(time.time(), 3),
        robot=robot,
        task=task,
        simulated=simulated,
        protocol=protocol,
        contestants=tuple(sorted(contestants, key=lambda c: c.name)),
        schedule=schedule_of(protocol, len(names), sorted(pictures)),
        pictures=digests,
        seal=sha256_file(envelope),
        settings=dict(settings or {}),
    )
    write_json(folder / PLAN, {"schema": SCHEMA, **json.loads(json.dumps(asdict(plan)))})
    return plan


def read_plan(folder: Path) -> tuple[Plan, str]:
    """The plan and its digest (sha256 of its bytes). Raises CorruptFileError, or WovrError where there is none."""
    path = folder / PLAN
    if not path.exists():
        raise WovrError(f"there is no evaluation at {folder}; make one with `wovr robot plan`")
    values = read_json(path)
    if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
        raise CorruptFileError(f"{path} is no plan of schema {SCHEMA}")
    return from_dict(Plan, values, str(path)), sha256_file(path)


def open_envelope(folder: Path, plan: Plan) -> list[str]:
    """Names of contestants by trial. Raises TamperedError unless the envelope is the one that the plan committed to."""
    path = folder / SEALED
    if not path.exists() or sha256_file(path) != plan.seal:
        raise TamperedError(f"{path} is not the envelope that the plan committed to")
    assignment = read_json(path)["assignment"]
    if len(assignment) != len(plan.schedule) or set(assignment) - {c.name for c in plan.contestants}:
        raise TamperedError(f"{path} does not fit the plan")
    return [str(name) for name in assignment]
