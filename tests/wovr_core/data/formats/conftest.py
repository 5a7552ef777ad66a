from collections.abc import Iterator

import pytest

from wovr_core.data.formats.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One worker for the tests of a module."""
    with Sandbox() as shared:
        yield shared
