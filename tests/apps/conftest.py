"""The browser in which pages are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apps.bench.browser import chromium


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    """Ends with its module: while it runs, so does an event loop of this thread."""
    with chromium() as browser:
        yield browser
