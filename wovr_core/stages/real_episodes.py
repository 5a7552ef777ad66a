"""Real episodes as files of a stage, one each: what is there is kept, what is missing is made."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from wovr_core.data.episode_files import SUFFIX, read_episode_summary, write_episode
from wovr_core.envs.env_cache import EnvCache
from wovr_core.envs.job_pool import JobPool
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.libero_render import is_first_use
from wovr_core.errors import CorruptFileError
from wovr_core.files import wovr_home
from wovr_core.stages.folder import StageFolder
from wovr_core.stages.progress import Progress
from wovr_core.types import Episode

logger = logging.getLogger("wovr.collect")


class Inputs(Protocol):
    """What decides on the episodes of a stage, beside a policy."""

    @property
    def env(self) -> LiberoConfig: ...

    @property
    def tasks(self) -> tuple[int, ...]: ...

    @property
    def seed(self) -> int: ...


def versions_of(inputs: Inputs) -> dict[str, str]:
    """For the stage's folder: what its episodes depend on, but for the policy."""
    return {"env": str(inputs.env), "tasks": str(list(inputs.tasks)), "seed": str(inputs.seed)}


def make_missing(
    folder: StageFolder,
    names: Collection[str],
    function: Callable[[EnvCache, Any], Episode],
    job_of: Callable[[str], Any],
    pool: JobPool,
    unit: str = "episode",
) -> Path:
    """Run a job for every name that has no whole file yet, and write what it gives under that name.

    Args:
        function: of `wovr_core.execution`, for the pool.
        job_of: name -> what the function is called with; has the fields `env` and `task`.
        unit: what is counted on the terminal.

    Returns:
        The folder of the files, `episodes` in the stage's own.

    Raises:
        Interrupted: Ctrl-C was pressed; what is written stays.
        WovrError: what the jobs raise.
    """
    episodes = folder.path / "episodes"
    missing = still_missing(episodes, names)
    jobs = [job_of(name) for name in missing]
    if jobs:
        tell_of_first_use(jobs[0].env)
    progress = Progress(folder.title, len(names), unit, initial=len(names) - len(missing))
    with contextlib.closing(progress):
        for name, episode in zip(missing, pool.map(function, jobs, key=attrgetter("task")), strict=True):
            write_episode(episodes, replace(episode, id=name))
            progress.update(1)
            folder.stop_if_asked()
    return episodes


def tell_of_first_use(env: Any) -> None:
    """On a new machine, say what the silence before the first episode is; afterwards nothing."""
    if isinstance(env, LiberoConfig) and env.profile == "fast" and is_first_use():
        logger.info(
            "first use of LIBERO here: before the first episodes its meshes and textures are thinned out, to be kept "
            "under %s, and its control law is compiled; this takes some ten seconds for the first task and a few for "
            "each other one, on a busy machine minutes",
            wovr_home(),
        )


def still_missing(episodes: Path, names: Iterable[str]) -> list[str]:
    """Those of the names that have no whole file. What a kill or a bad disk left of one is removed."""
    sweep(episodes)
    return [name for name in names if not is_whole(episodes / f"{name}{SUFFIX}")]


def sweep(episodes: Path) -> None:
    """Remove what a killed worker was writing: such a file has its name only once it is whole."""
    for leftover in episodes.glob(f".*{SUFFIX}.*.tmp"):
        leftover.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """By its header, which tells its length too: files appear by a rename once their bytes are on disk. One that is
    not whole is removed."""
    if not path.exists():
        return False
    try:
        read_episode_summary(path)
    except CorruptFileError as error:
        logger.warning("%s; making that episode again", error)
        path.unlink()
        return False
    return True
