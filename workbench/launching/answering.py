"""How a desk says no: whatever a question may have got wrong becomes {"error": words}, with "fields" for a form."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from workbench.launching.drafts import DraftError
from wovr_core.errors import WovrError

log = logging.getLogger("wovr.launching")


def answered(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the question gives. Never raises for what a caller, or the disk, may have got wrong."""
    try:
        return question()
    except DraftError as error:
        return {"error": str(error), "fields": error.fields}
    except WovrError as error:
        return {"error": str(error)}
    except OSError as error:
        log.warning("%s", error)
        return {"error": f"the disk says: {error.strerror or error}"}
