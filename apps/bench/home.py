"""A WOVR_HOME of its own for a while: what is measured or pictured has nothing to do with this machine's runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """WOVR_HOME is this folder, for this process and those that it starts."""
    before = os.environ.get("WOVR_HOME")
    os.environ["WOVR_HOME"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WOVR_HOME"]
        if before is not None:
            os.environ["WOVR_HOME"] = before
