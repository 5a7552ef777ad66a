"""What the pages share: runs and their store, the review queue, jobs, pictures at hand, and who is asking."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from apps.scrubber_host import PackStore
from workbench.catalogue.catalogue import Catalogue
from workbench.catalogue.payloads import Payloads
from workbench.catalogue.strips import Strips
from workbench.server.roles import Role, User, system_user

if TYPE_CHECKING:
    from workbench.jobs.backend import JobBackend
    from workbench.review.queue import ReviewQueue
    from workbench.store.store import Store


def local_user(_: Any = None) -> User:
    """Whoever runs the app on this machine: everything but a robot, unless the app was started with one."""
    return User(system_user(), Role.ROBOT if os.environ.get("WOVR_ROBOT") else Role.OPERATOR)


@dataclass(frozen=True)
class Services:
    """One per app. Pages get it from `create_app` and keep nothing else between requests."""

    catalogue: Catalogue
    user_of: Callable[[Any], User] = local_user
    """From a request (Starlette's, or Gradio's wrapper of it)."""
    packs: PackStore = field(default_factory=PackStore)
    payloads: Payloads = field(default_factory=Payloads)
    strips: Strips = field(default_factory=Strips)

    @property
    def store(self) -> Store:
        return self.catalogue.store

    @cached_property
    def queue(self) -> ReviewQueue:
        from workbench.review.queue import ReviewQueue

        return ReviewQueue(self.store)

    @cached_property
    def jobs(self) -> JobBackend:
        """Of this machine."""
        from workbench.jobs.local import LocalBackend

        return LocalBackend()
