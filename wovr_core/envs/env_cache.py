"""Keeps the environments that a process has built: building one takes seconds, resetting milliseconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class EnvCache:
    """The last `bound` environments used, by configuration and task; the oldest is closed to make room."""

    def __init__(self, bound: int = 4, build: Callable[[Any, int], Any] | None = None) -> None:
        if bound < 1:
            raise ValueError(f"bound {bound}: a cache keeps at least one environment")
        self._bound = bound
        self._build = build
        self._envs: OrderedDict[tuple[Any, int], Any] = OrderedDict()

    def get(self, config: Any, task_index: int) -> Any:
        """The environment of this task of an `EnvConfig`, built if need be. In whatever state its last user left it:
        reset it.

        Raises:
            WovrError: what building raises.
        """
        key = (config, task_index)
        if key in self._envs:
            self._envs.move_to_end(key)
            return self._envs[key]
        while len(self._envs) >= self._bound:
            self._envs.popitem(last=False)[1].close()
        env = self._build(config, task_index) if self._build else _build(config, task_index)
        self._envs[key] = env
        return env

    def __len__(self) -> int:
        return len(self._envs)

    def close(self) -> None:
        """Close them all."""
        while self._envs:
            self._envs.popitem()[1].close()


def _build(config: Any, task_index: int) -> Any:
    from wovr_core.envs.environments import environment_of

    return environment_of(config).build(config, task_index)
