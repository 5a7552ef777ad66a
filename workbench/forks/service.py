"""Forks for several users at once: imagined and replayed in threads, bounded, given up when nobody asks any more.

A job lives as long as somebody looks at it: whoever leaves the page stops asking for its state, and after `lease`
seconds it is cancelled. Finished forks are drafts, the latest of them at hand, until they are kept in their run.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.forks import keep as keeping
from workbench.forks.imagine import Cancelled, Fork, imagine_fork
from workbench.forks.models import Models
from workbench.forks.plan import Plan
from workbench.forks.replay import Replayer
from workbench.server.roles import Role, User
from wovr_core.errors import WovrError
from wovr_core.types import Episode, Rollout

log = logging.getLogger("wovr.forks")


@dataclass(frozen=True)
class ForkLimits:
    """What one app does at a time."""

    at_once: int = 2
    """Jobs of all users."""
    each: int = 1
    """Jobs of one user."""
    drafts: int = 48
    """Finished forks that are at hand without being kept; the oldest go."""
    lease: float = 20.0
    """Seconds after which a job that nobody asked about is given up."""


@dataclass(frozen=True)
class Draft:
    """A finished fork."""

    fork: Fork
    run: Path
    stage: str
    """That made the original."""
    original_id: str
    """The catalogue's."""
    author: str
    replay: Episode | None = None
    kept: bool = False

    @property
    def id(self) -> str:
        """The fork's own."""
        return self.fork.rollout.id


@dataclass
class _Job:
    id: str
    user: str
    what: str
    asked: float
    done: int = 0
    total: int = 0
    state: str = "running"
    result: str = ""
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    def progress(self, done: int, total: int) -> None:
        """Told after each piece."""
        self.done, self.total = done, total


class Forks:
    """One per app. Safe for several threads."""

    def __init__(
        self, limits: ForkLimits | None = None, models: Models | None = None, replayer: Replayer | None = None
    ) -> None:
        self.limits = limits or ForkLimits()
        self.models = models or Models()
        self.replayer = replayer or Replayer()
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._guard = threading.RLock()
        self._keeping = threading.Lock()
        """Held while a draft and what its run keeps of it change together."""

    def start(self, user: User, run: Path, stage: str, original_id: str, original: Rollout, plan: Plan) -> str:
        """Begin to imagine a fork; returns the job. Raises ForbiddenError, or WovrError when too much is under way."""
        user.require(Role.ANNOTATOR, "imagine a fork")

        def work(job: _Job) -> str:
            with self.models.of(run, stage, original) as loaded:
                fork = imagine_fork(
                    loaded.env,
                    loaded.policy,
                    original,
                    plan,
                    discount=loaded.discount,
                    author=user.name,
                    on_chunk=job.progress,
                    stop=job.stop.is_set,
                )
            return self._put(Draft(fork, run, stage, original_id, user.name))

        return self._begin(user, "imagine", plan.chunk + plan.chunks, work)

    def start_replay(self, user: User, fork_id: str) -> str:
        """Begin to execute a fork's actions in the simulator; returns the job. Raises as `start`, and for no fork."""
        user.require(Role.ANNOTATOR, "replay a fork")
        draft = self.draft(fork_id)

        def work(job: _Job) -> str:
            episode = self.replayer.replay(draft.run, draft.fork.rollout, job.progress, job.stop.is_set)
            episode = replace(episode, id=draft.id)
            with self._keeping:
                now = replace(self.draft(fork_id), replay=episode)
                self._put(now)
                if now.kept:
                    keeping.keep(now.run, now.fork.rollout, episode)
            return fork_id

        return self._begin(user, "replay", len(draft.fork.rollout.actions), work)

    def state(self, user: User, job_id: str) -> dict[str, Any]:
        """{state: running | done | failed | cancelled, what, done, total, result, error}; asking keeps it alive."""
        job = self._job(user, job_id)
        job.asked = time.monotonic()
        names = ("state", "what", "done", "total", "result", "error")
        return {name: getattr(job, name) for name in names}

    def cancel(self, user: User, job_id: str) -> None:
        """Have a job stop at its next chunk, or piece of replay."""
        self._job(user, job_id).stop.set()

    def draft(self, fork_id: str) -> Draft:
        """Raises WovrError for one that is not at hand."""
        with self._guard:
            found = self._drafts.get(fork_id)
        if found is None:
            raise WovrError(f"the fork {fork_id[:80]} is no longer at hand; imagine it again")
        return found

    def adopt(self, draft: Draft) -> str:
        """Take in a fork that was kept earlier, so that it can be replayed or taken back."""
        return self._put(draft)

    def keep(self, user: User, fork_id: str) -> Path:
        """Write a draft into its run. Raises ForbiddenError or WovrError."""
        user.require(Role.ANNOTATOR, "keep a fork")
        with self._keeping:
            draft = self.draft(fork_id)
            path = keeping.keep(draft.run, draft.fork.rollout, draft.replay)
            self._put(replace(draft, kept=True))
        return path

    def undo_keep(self, user: User, fork_id: str) -> bool:
        """Take a kept fork out of its run again: its author may, and operators. Raises ForbiddenError, WovrError."""
        user.require(Role.ANNOTATOR, "take a fork back")
        with self._keeping:
            draft = self.draft(fork_id)
            if draft.author != user.name:
                user.require(Role.OPERATOR, f"take back a fork by {draft.author or 'somebody else'}")
            gone = keeping.forget(draft.run, fork_id)
            self._put(replace(draft, kept=False))
        return gone

    def close(self) -> None:
        """Stop everything."""
        with self._guard:
            for job in self._jobs.values():
                job.stop.set()
        self.replayer.close()

    def _begin(self, user: User, what: str, total: int, work: Callable[[_Job], str]) -> str:
        with self._guard:
            running = [job for job in self._jobs.values() if job.state == "running"]
            if sum(job.user == user.name for job in running) >= self.limits.each:
                raise WovrError("your last fork is still under way; wait for it, or cancel it")
            if len(running) >= self.limits.at_once:
                raise WovrError(f"{len(running)} forks are under way, and no more run at once; try again in a moment")
            job = _Job(secrets.token_urlsafe(12), user.name, what, time.monotonic(), total=total)
            self._jobs[job.id] = job
            while len(self._jobs) > 200:
                self._jobs.popitem(last=False)
        threading.Thread(target=self._run, args=(job, work), name=f"wovr-fork-{what}", daemon=True).start()
        threading.Thread(target=self._watch, args=(job,), name="wovr-fork-lease", daemon=True).start()
        return job.id

    def _run(self, job: _Job, work: Callable[[_Job], str]) -> None:
        try:
            job.result = work(job)
            job.state = "done"
        except Cancelled:
            job.state = "cancelled"
        except WovrError as error:
            job.error, job.state = str(error), "failed"
        except Exception as error:
            log.exception("a fork failed")
            job.error, job.state = f"a fault of the program ({type(error).__name__}); see the app's log", "failed"

    def _watch(self, job: _Job) -> None:
        while job.state == "running" and not job.stop.wait(min(1.0, self.limits.lease / 4)):
            if time.monotonic() - job.asked > self.limits.lease:
                log.info("nobody waits for %s %s any more; it is given up", job.what, job.id)
                job.stop.set()

    def _job(self, user: User, job_id: str) -> _Job:
        with self._guard:
            job = self._jobs.get(job_id)
        if job is None or job.user != user.name:
            raise WovrError("there is no such job of yours")
        return job

    def _put(self, draft: Draft) -> str:
        with self._guard:
            self._drafts[draft.id] = draft
            self._drafts.move_to_end(draft.id)
            while len(self._drafts) > self.limits.drafts:
                self._drafts.popitem(last=False)
        return draft.id
