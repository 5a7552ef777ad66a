"""What pages' modules ask of the server: messages {"op": ...}, each answered by an object, whatever was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.server.answering import answered
from workbench.server.roles import ForbiddenError, User
from wovr_core.errors import WovrError

Operation = Callable[[User, Mapping[str, Any]], dict[str, Any]]
FORBIDDEN: Mapping[type[WovrError], str] = {ForbiddenError: "forbidden"}


class AskError(WovrError):
    """A message that no page of ours sends."""


def answer_to(
    message: object,
    user: User,
    operations: Mapping[str, Operation],
    flags: Mapping[type[WovrError], str] = FORBIDDEN,
) -> dict[str, Any]:
    """What the operation that the message names gives, or {"error": what is wrong}. Never raises at a browser's word.

    Args:
        flags: error -> name of a flag that the answer carries beside the words, for the page to act on.
    """

    def ask() -> dict[str, Any]:
        if not isinstance(message, Mapping):
            raise AskError("a message must be an object")
        act = operations.get(str(message.get("op")))
        if act is None:
            raise AskError(f"op must be one of {', '.join(operations)}")
        return act(user, message)

    return answered(ask, lambda error: {flag: True for kind, flag in flags.items() if isinstance(error, kind)})


def text_of(message: Mapping[str, Any], name: str, limit: int = 2000) -> str:
    """Raises AskError unless it is a text of at most so many characters."""
    value = message.get(name)
    if not isinstance(value, str) or len(value) > limit:
        raise AskError(f"{name} must be a text of at most {limit} characters")
    return value


def name_of(message: Mapping[str, Any], name: str) -> str:
    """What the message calls something: a text that is not empty. Raises AskError."""
    value = text_of(message, name, 400)
    if not value:
        raise AskError(f"{name} must not be empty")
    return value
