"""Which environment a configuration means: LIBERO, or that of a plug-in."""

from __future__ import annotations

from typing import Any

from wovr_core import plugins
from wovr_core.envs.base import Env, EnvironmentPlugin, pick_task
from wovr_core.envs.expert.demonstrations import ExpertConfig, run_expert_episode
from wovr_core.envs.libero import EVALUATION_STATES, LiberoConfig, LiberoEnv
from wovr_core.envs.libero_suites import tasks
from wovr_core.errors import WovrError
from wovr_core.types import Episode, TaskId

LIBERO = EnvironmentPlugin(
    config=LiberoConfig,
    build=LiberoEnv,
    tasks=lambda config: tasks(config.suite),
    demonstrate=run_expert_episode,
    evaluation_states=EVALUATION_STATES,
)


def environment_of(config: Any) -> EnvironmentPlugin:
    """The environment of this configuration. Raises UnknownNameError or PluginError."""
    kind = getattr(config, "kind", None)
    return plugins.load(plugins.ENVIRONMENTS, kind, EnvironmentPlugin) if kind else LIBERO


def task_of(config: Any, index: int) -> TaskId:
    """One of its tasks. Raises UnknownNameError."""
    return pick_task(config.suite, environment_of(config).tasks(config), index)


def demonstrate(env: Env, seed: int, expert: ExpertConfig) -> Episode:
    """A scripted episode in this environment. Raises WovrError where it has no demonstrator."""
    made_by = environment_of(env.config).demonstrate
    if made_by is None:
        raise WovrError(f"{env.config.suite} has no scripted demonstrator; import demonstrations with `wovr import`")
    return made_by(env, seed, expert)
