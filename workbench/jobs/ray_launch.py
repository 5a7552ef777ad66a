"""Commands that need a launcher of their own: training on GPUs, and RLinf on an exported folder.

`rlinf` is a kind of job on a folder that `wovr export rlinf` wrote: here is how it is started.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.jobs.kinds import JobKind, register_kind
from workbench.jobs.spec import RUN_ID, JobSpec
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home

_CONFIG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,63}")


def under_accelerate(argv: Sequence[str], gpus: int) -> list[str]:
    """`python -m module ...` under `accelerate launch`, one process per GPU; unchanged without GPUs.

    Raises WovrError for a command that is no Python module.
    """
    command = list(argv)
    if gpus == 0:
        return command
    if "-m" not in command[:3]:
        raise WovrError(f"only Python modules run under accelerate, not {command[0]} {' '.join(command[1:3])}")
    module = command[command.index("-m") + 1 :]
    several = ["--multi_gpu"] if gpus > 1 else []
    return [
        *(command[0], "-P", "-m", "accelerate.commands.launch"),
        *(*several, "--num_processes", str(gpus), "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),  # the recipe says which precision, not the launcher
        *("--module", *module),
    ]


@dataclass(frozen=True)
class RLinfParameters:
    """Of a job of kind `rlinf`."""

    export: str
    """Id of the exported folder, below $WOVR_HOME/exports."""
    config: str = "wovr"
    """Name of the Hydra configuration in it, without its suffix."""


def rlinf_argv(export: str, config: str, home: Path, rlinf: Path) -> list[str]:
    """RLinf's embodied trainer on an exported folder, as its run_embodiment.sh starts it, without the shell.

    Args:
        rlinf: a checkout of RLinf.

    Raises:
        WovrError: an id that is none, or a checkout without the trainer.
    """
    if not RUN_ID.fullmatch(export):
        raise WovrError(f"export {export!r} is not the id of an exported folder")
    if not _CONFIG.fullmatch(config):
        raise WovrError(f"config {config!r} is not the name of a configuration, such as wovr")
    examples = rlinf / "examples" / "embodiment"
    trainer = examples / "train_embodied_agent.py"
    if not trainer.is_file():
        raise WovrError(f"there is no RLinf checkout at {rlinf} (no {trainer}); set WOVR_RLINF to one")
    folder = home / "exports" / export
    return [
        *("env", f"EMBODIED_PATH={examples}", f"PYTHONPATH={rlinf}"),
        *(sys.executable, str(trainer), "--config-path", str(folder), "--config-name", config),
        f"runner.logger.log_path={folder / 'logs'}",
    ]


def _argv(spec: JobSpec) -> list[str]:
    given = RLinfParameters(**spec.parameters)  # type: ignore[arg-type]
    return rlinf_argv(given.export, given.config, wovr_home(), Path(os.environ.get("WOVR_RLINF", "RLinf")))


RLINF = register_kind(JobKind("rlinf", "RL at scale on RLinf, from an exported folder", _argv, RLinfParameters))
