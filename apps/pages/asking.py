"""What pages' modules ask of the server: messages {"op": ...}, each answered by an object, whatever was sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from workbench.server.roles import ForbiddenError, User
from wovr_core.errors import WovrError

Operation = Callable[[User, Mapping[str, Any]], dict[str, Any]]
FORBIDDEN: Mapping[type[WovrError], str] = {ForbiddenError: "forbidden"}


class AskError(WovrError):
    """A message that no page of ours sends."""


def answered(
    operations: Mapping[str, Operation],
    message: object,
    user: User,
    log: logging.Logger,
    flags: Mapping[type[WovrError], str] = FORBIDDEN,
) -> dict[str, Any]:
    """What the operation that the message names gives, or {"error": what is wrong}. Never raises at a browser's word.

    Args:
        log: where errors of the disk are noted.
        flags: error -> name of a flag that the answer carries beside the words, for the page to act on.
    """
    try:
        if not isinstance(message, Mapping):
            raise AskError("a message must be an object")
        act = operations.get(str(message.get("op")))
        if act is None:
            raise AskError(f"there is no such operation; known: {', '.join(operations)}")
        return act(user, message)
    except WovrError as error:
        return {"error": str(error)} | {flag: True for kind, flag in flags.items() if isinstance(error, kind)}
    except OSError as error:
        log.error("%s", error)
        return {"error": f"the files cannot be read or written ({error.strerror or error}); try again"}


def text_of(message: Mapping[str, Any], name: str) -> str:
    """Raises AskError unless it is a text of at most 2,000 characters."""
    value = message.get(name)
    if not isinstance(value, str) or len(value) > 2000:
        raise AskError(f"{name} must be a text of at most 2,000 characters")
    return value
