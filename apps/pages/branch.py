"""Page Branch: pause a rollout, change what the robot does next, imagine on, and see what would really happen.

The page's module (apps/assets/branch.js) speaks to one server function; what takes long runs in the service's threads
(workbench/forks), which the page asks about until it is done. Whoever leaves the page stops asking, and it stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from apps.assets_route import asset_url
from apps.pages import PageParts
from apps.pages.asking import AskError, Operation, answer_to, name_of, text_of
from apps.pages.component import page_html
from apps.scrubber_host import module_url, reading_value
from apps.services import Services
from workbench.branch import side_by_side
from workbench.catalogue.query import Query
from workbench.film_strips import as_seen
from workbench.forks import keep
from workbench.forks.imagine import Fork
from workbench.forks.models import policy_of
from workbench.forks.plan import AFTERWARDS, MAX_CHUNKS, MAX_LENGTH, SOURCES, Plan, parse_plan
from workbench.forks.replay import simulator_of
from workbench.forks.service import Draft, Forks
from workbench.scrubber.payload import Payload, from_rollout
from workbench.server.roles import Role, User
from workbench.store.items import AUDITED, BRANCH, PRACTICE, REAL, Item
from wovr_core.data.episode_files import SUFFIX, read_episode, read_rollout
from wovr_core.errors import WovrError
from wovr_core.types import CHUNK, Rollout


def build(services: Services, forks: Forks | None = None) -> PageParts:
    """The page's component, inside the Blocks around it."""
    answers = BranchAnswers(services, forks or Forks())
    page_html("branch", services, answers.answer, scrubber_url=module_url(), pictures="/wovr/inspect/strips/")
    return PageParts(APIRouter(), f'<link rel="stylesheet" href="{asset_url("branch.css")}">')


@dataclass(frozen=True)
class BranchAnswers:
    """Everything that the page may ask. Roles are checked by the service, whoever calls."""

    services: Services
    forks: Forks

    def answer(self, message: object, user: User) -> dict[str, Any]:
        """The answer to one message {op, ...}; {"error": why} for one that cannot be answered."""
        operations: dict[str, Operation] = {
            "list": self._list,
            "open": self._open,
            "show": self._show,
            "imagine": self._imagine,
            "replay": self._replay,
            "state": self._state,
            "cancel": self._cancel,
            "keep": self._keep,
            "undo": self._undo,
        }
        return answer_to(message, user, operations)

    def _list(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """Rollouts to begin with."""
        page = message.get("page", 0)
        if not isinstance(page, int) or isinstance(page, bool) or page < 0:
            raise AskError("page must be a whole number from 0")
        text = text_of(message, "text", 200) if "text" in message else ""
        filters = {"kind": frozenset({AUDITED, PRACTICE, BRANCH})}
        found = self.services.catalogue.answer(Query(filters, text.strip().casefold(), False, "suspicion", page))
        return {
            "cards": [item.card(found.spans.get(item.id, 0)) for item in found.items],
            "total": found.total,
            "page": found.page,
            "pages": found.pages,
            "may": user.may(Role.ANNOTATOR),
            "problems": [{"run": p.run, "reason": p.reason} for p in self.services.catalogue.problems()],
        }

    def _open(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """A rollout with its actions, its kept forks, and the scrubber's value."""
        item, rollout = self._rollout(name_of(message, "rollout"))
        run = self.services.catalogue.run_folder(item)
        real = as_seen(read_episode(item.replay)) if item.replay is not None else None
        return {
            "rollout": {
                "id": item.id,
                "name": item.name,
                "run": item.run,
                "instruction": item.instruction,
                "verdict": item.verdict,
                "chunks": len(rollout.actions) // CHUNK,
                "actions": [[round(float(v), 4) for v in row] for row in rollout.actions],
                "policy": policy_of(run, rollout) is not None,
                "simulator": _why_not(partial(simulator_of, run)),
            },
            "forks": self._kept(item, run),
            "limits": {"chunks": MAX_CHUNKS, "length": MAX_LENGTH, "chunk": CHUNK},
            "choices": {"source": list(SOURCES), "afterwards": list(AFTERWARDS)},
            "may": user.may(Role.ANNOTATOR),
            "value": self._value(from_rollout(as_seen(rollout), real), item.id, item.name),
        }

    def _show(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """A fork beside its original, or beside what really happened."""
        draft = self._draft(message)
        fork, replay = draft.fork, draft.replay
        if message.get("beside") == "real":
            if replay is None:
                raise AskError("this fork has not been executed in the simulator yet")
            payload = from_rollout(as_seen(fork.rollout), as_seen(replay)).with_meta(frame=fork.plan.chunk * CHUNK)
            titles = {"real": "LIBERO", "imagined": "fork", "difference": "|fork - LIBERO|"}
            payload = payload.with_meta(panes=[p | {"title": titles[p["key"]]} for p in payload.meta["panes"]])
        else:
            payload = side_by_side(fork.original, fork.rollout)
            payload = payload.with_meta(
                panes=[p | {"title": p["title"].replace("branch", "fork")} for p in payload.meta["panes"]]
            )
        return {"fork": told(draft), "value": self._value(payload, fork.rollout.id, fork.rollout.id)}

    def _imagine(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.ANNOTATOR, "imagine a fork")
        item, rollout = self._rollout(name_of(message, "rollout"))
        plan = parse_plan(message, rollout)
        run = self.services.catalogue.run_folder(item)
        return {"job": self.forks.start(user, run, item.stage, item.id, rollout, plan)}

    def _replay(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.ANNOTATOR, "replay a fork")
        return {"job": self.forks.start_replay(user, self._draft(message).id)}

    def _state(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        return self.forks.state(user, name_of(message, "job"))

    def _cancel(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self.forks.cancel(user, name_of(message, "job"))
        return {"ok": True}

    def _keep(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        draft = self._draft(message)
        self.forks.keep(user, draft.id)
        self.services.catalogue.look_again()
        return {"fork": told(self.forks.draft(draft.id))}

    def _undo(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        draft = self._draft(message)
        self.forks.undo_keep(user, draft.id)
        self.services.catalogue.look_again()
        return {"fork": told(self.forks.draft(draft.id))}

    def _rollout(self, item_id: str) -> tuple[Item, Rollout]:
        item = self.services.catalogue.find(item_id)
        if item is None:
            raise AskError("there is no such rollout here; its run may have been moved or deleted")
        if item.kind == REAL:
            raise AskError("this is a real episode: only what was imagined can be imagined differently")
        if item.broken:
            raise AskError(item.broken)
        return item, read_rollout(item.path)

    def _draft(self, message: Mapping[str, Any]) -> Draft:
        """At hand, or kept in the run of the rollout that the message names too."""
        fork_id = name_of(message, "fork")
        try:
            return self.forks.draft(fork_id)
        except WovrError:
            if not isinstance(message.get("rollout"), str):
                raise
        item, original = self._rollout(name_of(message, "rollout"))
        run = self.services.catalogue.run_folder(item)
        path = run / keep.STAGE / "rollouts" / f"{fork_id}{SUFFIX}"
        if Path(fork_id).name != fork_id or not path.is_file():
            raise AskError("there is no such fork of this rollout; it was not kept, or was taken back")
        rollout = read_rollout(path)
        if rollout.info.get("branch_of") != original.id:
            raise AskError(f"{fork_id} is no fork of {original.id}")
        replay = run / keep.STAGE / keep.REPLAYS / path.name
        draft = Draft(
            fork=Fork(rollout, original, _plan_of(rollout), 0.0),
            run=run,
            stage=item.stage,
            original_id=item.id,
            author=rollout.info.get("branch_by", ""),
            replay=read_episode(replay) if replay.is_file() else None,
            kept=True,
        )
        return self.forks.draft(self.forks.adopt(draft))

    def _kept(self, item: Item, run: Path) -> list[dict[str, Any]]:
        folder = run / keep.STAGE / "rollouts"
        paths = sorted(folder.glob(f"{item.name[:100]}*{SUFFIX}")) if folder.is_dir() and "/" not in item.name else []
        found = []
        for path in paths[:100]:
            rollout = read_rollout(path)
            if rollout.info.get("branch_of") == item.name:
                found.append(told(self._draft({"fork": rollout.id, "rollout": item.id})))
        return found

    def _value(self, payload: Payload, ident: str, title: str) -> dict[str, Any]:
        payload = payload.with_meta(id=ident, title=title, subtitle="", can_branch=True)
        return reading_value(payload, self.services.packs)


def told(draft: Draft) -> dict[str, Any]:
    """What the page says of a fork."""
    rollout, replay = draft.fork.rollout, draft.replay
    row = keep.audit_row(rollout, replay) if replay is not None else None
    return {
        "id": draft.id,
        "chunk": draft.fork.plan.chunk,
        "chunks": len(rollout.actions) // CHUNK,
        "source": rollout.info.get("branch_source", ""),
        "afterwards": rollout.info.get("branch_afterwards", ""),
        "temperature": rollout.info.get("temperature", ""),
        "seed": rollout.info.get("policy_seed", ""),
        "imagined_success": rollout.imagined_success,
        "p_success": round(float(rollout.p_success.max()), 3),
        "real_success": None if row is None else row["real_success"],
        "divergence": None if row is None else round(max(row["divergence"]), 1),
        "prefix_difference": round(draft.fork.prefix_difference, 3),
        "author": draft.author,
        "kept": draft.kept,
    }


def _plan_of(rollout: Rollout) -> Plan:
    chunk, total = int(rollout.info.get("branch_chunk", 0)), len(rollout.actions) // CHUNK
    return Plan(chunk, total - chunk, "edit", "original")


def _why_not(check: Callable[[], object]) -> str:
    """Empty where it works."""
    try:
        check()
    except WovrError as error:
        return str(error)
    return ""
