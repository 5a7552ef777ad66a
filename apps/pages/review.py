"""Page Review: one item after another by keyboard, the evidence beside it; decisions, quality, and the loop closed.

The page's module (apps/assets/review.js) asks through one server function, in messages {"op": ...}. No component of
Gradio holds any state and no event of Gradio's is used: a server that was killed and started again answers the same
page as if nothing had happened. Roles are checked in workbench.review.labelling, and below before anything is made.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from apps.assets_route import asset_url
from apps.pages import PageParts
from apps.pages.asking import FORBIDDEN, AskError, Operation, answer_to, text_of
from apps.pages.component import page_html
from apps.pages.review_loop import Loop
from apps.scrubber_host import module_url, scrubber_value
from apps.services import Services
from workbench.catalogue.opening import ItemSpans
from workbench.evidence.gather import EvidenceStore
from workbench.review.labelling import Labelling
from workbench.review.log import ReviewError
from workbench.review.queue import Claim, ClaimLostError
from workbench.review.sheet import sheet
from workbench.review.shipped_examples import Examples
from workbench.scrubber.desk import SpanDesk
from workbench.scrubber.spans import LABELS
from workbench.server.roles import Role, User
from workbench.store.items import Item
from wovr_core.errors import WovrError

log = logging.getLogger("wovr.app.review")

PREFIX = "/wovr/review"
FLAGS = {**FORBIDDEN, ClaimLostError: "lost"}


class ReviewPage:
    """Answers the page's messages. Every answer is an object; one with "error" says what is wrong."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._evidence: EvidenceStore | None = None
        self._loop = Loop(services)
        self._operations: dict[str, Operation] = {
            "hello": self._hello,
            "next": self._next,
            "keep": self._keep,
            "edit": self._edit,
            "submit": self._submit,
            "skip": self._skip,
            "release": self._release,
            "disputes": self._disputes,
            "dispute": self._dispute,
            "adjudicate": self._adjudicate,
            "quality": self._quality,
            "unseen": self._unseen,
            "gold": self._gold,
            "retire": self._retire,
            **self._loop.operations,
        }

    def answer(self, message: object, user: User) -> dict[str, Any]:
        """Never raises at a browser's word."""
        return answer_to(message, user, self._operations, FLAGS)

    def desk(self, user: User, item: Item) -> SpanDesk:
        """Where the user's edits of an item arrive; it shows what this user may see."""
        annotations = self._services.catalogue.annotations(item)
        everyone = ItemSpans(annotations, item.span_key)
        seen = self._labelling.spans_of(user, item.id, everyone, annotations.log)
        return SpanDesk(seen, item.id, item.frames, can_edit=user.may(Role.ANNOTATOR))

    @property
    def _labelling(self) -> Labelling:
        return Labelling(self._services.queue)

    # -- labelling

    def _hello(self, user: User, _: Mapping[str, Any]) -> dict[str, Any]:
        self._services.catalogue.problems()  # has it look at the disk
        told: dict[str, Any] = {"user": user.name, "role": user.role.name.lower(), "operator": user.may(Role.OPERATOR)}
        if user.may(Role.ANNOTATOR):
            told["progress"] = self._labelling.progress(user).to_json()
        return told

    def _next(self, user: User, _: Mapping[str, Any]) -> dict[str, Any]:
        self._services.catalogue.problems()
        claim = self._labelling.next(user)
        progress = self._labelling.progress(user).to_json()
        if claim is None:
            return {"item": None, "progress": progress, "any": bool(self._services.queue.ranked())}
        return {"item": self._opened(user, claim), "progress": progress}

    def _opened(self, user: User, claim: Claim) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": claim.id,
            "made": claim.made,
            "expires": claim.expires,
            "lease": self._services.queue.config.lease_seconds,
            "now": self._services.queue.now(),
        }
        try:
            item = self._item(claim.id)
            payload = self._services.payloads.get(item).with_meta(can_edit=True)
            value = scrubber_value(payload, self.desk(user, item), self._services.packs, owns_address=False)
            if self._evidence is None:
                self._evidence = EvidenceStore(self._services.store)
            beside = sheet(self._evidence.of(claim.id), claim.reason)
        except (WovrError, OSError) as error:
            log.warning("%s cannot be opened: %s", claim.id, error)
            self._services.catalogue.look_again()
            return told | {"error": str(error)}
        return told | {"value": value, "sheet": beside, "run": item.run, "instruction": item.instruction}

    def _keep(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        claim = self._labelling.renew(user, text_of(message, "id"), _number(message, "made"))
        return {"expires": claim.expires, "now": self._services.queue.now()}

    def _edit(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        user.require(Role.ANNOTATOR, "flag spans")
        item = self._item(text_of(message, "rollout"))
        edit = {key: value for key, value in message.items() if key != "op"} | {"op": message.get("edit")}
        return self.desk(user, item).handle(edit, user.name)

    def _submit(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        spans = self._labelling.submit(user, text_of(message, "id"), _number(message, "made"))
        return {"spans": spans}

    def _skip(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._labelling.skip(user, text_of(message, "id"), _number(message, "made"), text_of(message, "why"))
        return {}

    def _release(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._labelling.release(user, text_of(message, "id"))
        return {}

    # -- decisions

    def _disputes(self, user: User, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"ids": self._labelling.disputed(user)}

    def _dispute(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        found = self._labelling.dispute(user, text_of(message, "id"))
        return {"dispute": found.to_json(), "value": self._empty(found.id)}

    def _empty(self, record_id: str) -> dict[str, Any]:
        """The scrubber without any span: what is drawn there is a decision, kept by the page until it is made."""
        item = self._item(record_id)
        payload = self._services.payloads.get(item).with_meta(can_edit=True)
        desk = SpanDesk(_Nothing(), item.id, item.frames)
        return scrubber_value(payload, desk, self._services.packs, owns_address=False)

    def _adjudicate(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._labelling.adjudicate(user, text_of(message, "id"), _spans(message), text_of(message, "why"))
        return {"dispute": self._labelling.dispute(user, text_of(message, "id")).to_json()}

    def _quality(self, user: User, _: Mapping[str, Any]) -> dict[str, Any]:
        return self._labelling.quality(user)

    def _unseen(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        """Rollouts whose answer can be made known: a list of them, and one to look at where the message names it."""
        ids = self._labelling.unseen(user)
        return {"ids": ids, "value": self._empty(text_of(message, "id")) if "id" in message else None}

    def _gold(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        if "share" in message:
            return {"made": self._labelling.gold_from_audit(user, _number(message, "share"))}
        self._labelling.set_gold(user, text_of(message, "id"), _spans(message), text_of(message, "why"))
        return {"made": [message["id"]]}

    def _retire(self, user: User, message: Mapping[str, Any]) -> dict[str, Any]:
        self._labelling.retire_gold(user, text_of(message, "id"), text_of(message, "why"))
        return {}

    def _item(self, record_id: str) -> Item:
        item = self._services.catalogue.find(record_id)
        if item is None:
            raise ReviewError("this rollout is not here any more; skip it, or look again later")
        return item


class _Nothing:
    """A SpanStore without spans, for a lane that the page keeps by itself."""

    def spans(self, rollout: str) -> list[Any]:
        return []

    def version(self, rollout: str, span_id: str) -> int:
        return 0

    def append(self, message: Mapping[str, Any], *, rollout: str, author: str, frames: int | None) -> Any:
        raise ReviewError("a decision is handed in as a whole")


def build(services: Services) -> PageParts:
    """The page, inside the Blocks around it."""
    page, examples = ReviewPage(services), Examples.shipped()
    guideline = [
        {"key": label.key, "title": label.title, "guide": label.guide, **examples.told(label.key, PREFIX)}
        for label in LABELS
    ]
    page_html("review", services, page.answer, scrubber_url=module_url(), guideline=guideline)
    router = APIRouter()

    @router.get(PREFIX + "/examples/{name}")
    def example(name: str) -> Response:
        picture = examples.picture(name)  # looked up, never made into a path
        if picture is None:
            return Response("there is no such picture", 404, media_type="text/plain")
        headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
        return Response(picture, media_type="image/webp", headers=headers)

    return PageParts(router, f'<link rel="stylesheet" href="{asset_url("review.css")}">')


def _number(message: Mapping[str, Any], name: str) -> float:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise AskError(f"{name} must be a number")
    return float(value)


def _spans(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    value = message.get("spans")
    if not isinstance(value, list) or len(value) > 200 or not all(isinstance(span, Mapping) for span in value):
        raise AskError("spans must be a list of at most 200 objects")
    return value
