"""How a server says no: whatever a question may have got wrong becomes {"error": words}."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from wovr_core.errors import WovrError

log = logging.getLogger("wovr.server")


def no_more(error: WovrError) -> dict[str, Any]:
    """The words are all that is told."""
    return {}


def answered(
    question: Callable[[], dict[str, Any]], more: Callable[[WovrError], dict[str, Any]] = no_more
) -> dict[str, Any]:
    """What the question gives. Never raises for what a caller, or the disk, may have got wrong.

    Args:
        more: what the answer carries beside an error's words, for whoever asked to act on.
    """
    try:
        return question()
    except WovrError as error:
        return {"error": str(error)} | more(error)
    except OSError as error:
        log.error("%s", error)
        return {"error": f"the disk says: {error.strerror or error}"}
