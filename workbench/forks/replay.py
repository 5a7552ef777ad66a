"""A fork's actions in the real simulator, from the instant its rollout began: in a process of its own, piece by piece.

The simulator goes on from a saved instant bit for bit, so that pieces of a few chunks give the whole replay, with
progress between them and an ear for whoever cancels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.forks.imagine import Cancelled
from wovr_core.config import from_dict
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import WovrError
from wovr_core.execution import replay, replay_job
from wovr_core.files import read_json
from wovr_core.types import CHUNK, Episode, Rollout

PIECE = 2 * CHUNK
"""Actions between two looks at whether somebody still waits."""
IDLE_SECONDS = 90.0
"""The simulator's process ends when nothing was replayed for so long; another takes some seconds to start."""


class Replayer:
    """One simulator process, started when it is first needed. One replay at a time; others wait."""

    def __init__(self, idle: float = IDLE_SECONDS) -> None:
        self._idle = idle
        self._turn = threading.Lock()
        self._pool: EnvPool | None = None
        self._timer: threading.Timer | None = None

    def replay(
        self,
        run: Path,
        rollout: Rollout,
        on_piece: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Episode:
        """What the rollout's actions really lead to, frame for frame beside it.

        Args:
            on_piece: told (actions executed, all of them); (0, all) while the scene is built.

        Raises:
            WovrError: the run says nothing of a simulator, or the scene could not be built; the message says why.
            Cancelled: `stop` said so.
        """
        env = simulator_of(run)
        while not self._turn.acquire(timeout=0.2):
            if stop():
                raise Cancelled("cancelled")
        try:
            if self._timer:
                self._timer.cancel()
            self._pool = self._pool or EnvPool(workers=1, cached_envs=1)
            return self._replay(self._pool, env, rollout, on_piece, stop)
        except Cancelled:
            raise
        except Exception as error:
            self._close()
            if isinstance(error, WovrError):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WovrError(f"the simulator could not execute this fork: {reason}; see `wovr doctor`") from error
        finally:
            self._timer = threading.Timer(self._idle, self._close_when_idle)
            self._timer.daemon = True
            self._timer.start()
            self._turn.release()

    def close(self) -> None:
        """End the simulator's process, also in the middle of a replay."""
        if self._timer:
            self._timer.cancel()
        self._close()

    def _replay(
        self,
        pool: EnvPool,
        env: LiberoConfig,
        rollout: Rollout,
        on_piece: Callable[[int, int], None],
        stop: Callable[[], bool],
    ) -> Episode:
        whole = replay_job(env, rollout)
        total, state = len(whole.actions), whole.sim_state
        pieces: list[Episode] = []
        for first in range(0, total, PIECE):
            on_piece(first, total)
            if stop():
                raise Cancelled("cancelled")
            job = replace(whole, sim_state=state, actions=whole.actions[first : first + PIECE])
            piece = next(iter(list(pool.map(replay, [job]))))
            assert piece.sim_states is not None
            pieces.append(piece)
            state = piece.sim_states[-1]
        on_piece(total, total)
        return joined(pieces)

    def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _close_when_idle(self) -> None:
        if self._turn.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._turn.release()


def joined(pieces: list[Episode]) -> Episode:
    """One episode of pieces, each of which begins with the last frame of the one before."""

    def put(name: str) -> np.ndarray:
        arrays = [getattr(piece, name) for piece in pieces]
        return np.concatenate([arrays[0], *(array[1:] for array in arrays[1:])])

    return replace(
        pieces[0],
        frames=put("frames"),
        success=put("success"),
        sim_states=put("sim_states"),
        actions=np.concatenate([piece.actions for piece in pieces]),
        streams={},
    )


def simulator_of(run: Path) -> LiberoConfig:
    """Raises WovrError for a run without one."""
    description = read_json(run / "run.json")
    config = description.get("config", {}).get("env") if isinstance(description.get("config"), dict) else None
    if not isinstance(config, dict):
        raise WovrError(f"{run / 'run.json'} names no simulator: this run's rollouts cannot be replayed")
    return replace(from_dict(LiberoConfig, config, f"{run / 'run.json'} env"), streams=())
