"""The models that drew a rollout, loaded once and kept: a few, the latest used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.branch import MODELS, checkpoint_of
from workbench.forks.plan import MAX_LENGTH
from wovr_core.errors import WovrError
from wovr_core.files import read_json
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL, load_policy
from wovr_core.policy.base import Policy
from wovr_core.stages.imagine import Simulator, make_env
from wovr_core.types import Rollout
from wovr_core.world_model.env import WorldModelEnv

DISCOUNT = 0.995
SOLVER_STEPS = 2


@dataclass
class Loaded:
    """One imagined environment, and the policy that acts in it where the run still holds it."""

    env: WorldModelEnv
    policy: Policy | None
    discount: float
    in_use: threading.Lock = field(default_factory=threading.Lock)
    """An environment holds the state of one batch."""


class Models:
    """A bounded cache. Safe for several threads."""

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._loaded: OrderedDict[tuple[str, ...], Loaded] = OrderedDict()
        self._guard = threading.Lock()

    @contextmanager
    def of(self, run: Path, stage: str, rollout: Rollout) -> Iterator[Loaded]:
        """The models of one of the run's rollouts, for the caller alone.

        Args:
            stage: that made the rollout, or what it branched from; its configuration says how it imagined.

        Raises:
            WovrError: the run no longer holds the world model or the reward classifier.
        """
        key = (str(run), stage, *(rollout.versions.get(what, "") for what in sorted(MODELS)))
        with self._guard:  # loading waits for loading: two copies of one model would help nobody
            found = self._loaded.get(key) or self._load(run, stage, rollout)
            self._loaded[key] = found
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._most:
                self._loaded.popitem(last=False)
        with found.in_use:
            yield found

    def __len__(self) -> int:
        return len(self._loaded)

    def _load(self, run: Path, stage: str, rollout: Rollout) -> Loaded:
        places = {what: checkpoint_of(run, what, rollout.versions.get(what, "")) for what in (WORLD_MODEL, REWARD)}
        policy = policy_of(run, rollout)
        config = _settings(run, stage)
        simulator = Simulator(policy or Path(), places[WORLD_MODEL], places[REWARD])
        env = make_env(simulator, int(config.get("solver_steps", SOLVER_STEPS)), MAX_LENGTH)
        return Loaded(env, load_policy(policy)[0] if policy else None, float(config.get("discount", DISCOUNT)))


def _settings(run: Path, stage: str) -> dict[str, Any]:
    """Of the stage that imagined; of `branches`, whose forks have none of their own, those of `imagine`."""
    for name in (stage, "imagine"):
        path = run / name / "config.json"
        found = read_json(path).get("config", {}) if path.is_file() else {}
        if isinstance(found, dict) and "solver_steps" in found:
            return found
    return {}


def policy_of(run: Path, rollout: Rollout) -> Path | None:
    """The checkpoint of the policy that acted, or None where the run keeps only what it became later."""
    try:
        return checkpoint_of(run, POLICY, rollout.versions.get(POLICY, ""))
    except WovrError:
        return None
