"""The allow-list: which kinds of job there are, and how each becomes a command.

The pipeline and its stages are there from the start. Others are added by the module that owns them:

    register_kind(JobKind("audit_run", "replay a run's rollouts for real", argv=..., parameters=AuditParameters))
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wovr_core.errors import UnknownNameError, WovrError

if TYPE_CHECKING:
    from workbench.jobs.spec import JobSpec

PIPELINE = "pipeline"


def module_command(module: str, *arguments: str) -> list[str]:
    """`python -m module arguments` with this interpreter; -P keeps the working directory off the import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


@dataclass(frozen=True)
class JobKind:
    """One kind of job."""

    name: str
    what: str
    argv: Callable[[JobSpec], Sequence[str]]
    """The command, without a shell. It must itself treat what the spec says as data."""
    parameters: type | None = None
    """A frozen dataclass that `JobSpec.parameters` is validated into; None: it takes none."""
    recipe: bool = False
    """Whether it needs a recipe (and may take overrides of its keys)."""
    stages: Callable[[JobSpec], Sequence[str]] | None = None
    """The folders of its run that it fills, in order: what its progress is counted by."""
    finished: Callable[[JobSpec], str] | None = None
    """A file, relative to $WOVR_HOME, that exists once the work is complete: the evidence that decides when
    the exit code was seen by nobody."""

    def check(self, spec: JobSpec) -> None:
        """Raises UnknownNameError or WovrError; see `JobSpec.check`."""
        from wovr_core.config import from_dict, override

        if self.recipe:
            from wovr_core import recipes  # brings torch: seconds

            if not spec.recipe:
                raise WovrError(f"a {self.name} job needs a recipe: {', '.join(recipes.RECIPES)}")
            recipes.check(override(recipes.get(spec.recipe), spec.overrides))
        elif spec.recipe or spec.overrides:
            raise WovrError(f"a {self.name} job takes neither a recipe nor overrides")
        if self.parameters is not None:
            _all_given(self.parameters, spec)
            from_dict(self.parameters, dict(spec.parameters), f"parameters of {self.name}")
        elif spec.parameters:
            raise WovrError(f"a {self.name} job takes no parameters, got {', '.join(sorted(spec.parameters))}")


def _all_given(kind: type, spec: JobSpec) -> None:
    wanted = dataclasses.fields(kind)
    if not set(spec.parameters) <= {f.name for f in wanted}:
        return  # a misspelt one explains itself better
    for f in wanted:
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in spec.parameters:
            raise WovrError(f"a {spec.kind} job needs the parameter {f.name}")


_REGISTERED: dict[str, JobKind] = {}
_OWN = ("workbench.jobs.ray_launch", "workbench.retrain", "workbench.launching.evaluation")
"""Modules of the workbench that register kinds when they are imported."""


def register_kind(kind: JobKind) -> JobKind:
    """Add a kind (again: harmless when it is the same). Raises WovrError when the name is taken."""
    if kind.name == PIPELINE or _REGISTERED.get(kind.name, kind) != kind:
        raise WovrError(f"there is a job kind {kind.name!r} already; choose another name")
    _REGISTERED[kind.name] = kind
    return kind


def find_kind(name: str) -> JobKind:
    """Raises UnknownNameError ("did you mean")."""
    found = _REGISTERED.get(name) or _stage_kinds().get(name) or _all_registered().get(name)
    if found is None:
        raise UnknownNameError("kind of job", name, [*_stage_kinds(), *_REGISTERED])
    return found


def kinds() -> dict[str, JobKind]:
    """All of them by name, the pipeline first."""
    return {**_stage_kinds(), **_all_registered()}


def _all_registered() -> dict[str, JobKind]:
    for module in _OWN:  # late: they build on this one
        importlib.import_module(module)
    return _REGISTERED


def _stage_kinds() -> dict[str, JobKind]:
    from wovr_core.pipeline import STAGES

    what = {PIPELINE: "the whole main job and its report"} | {name: f"up to: {text}" for name, text in STAGES.items()}
    return {name: JobKind(name, text, _stage_argv, None, True, _stages, _last_file) for name, text in what.items()}


def _stages(spec: JobSpec) -> list[str]:
    from wovr_core import recipes
    from wovr_core.config import override
    from wovr_core.pipeline import stages_of

    names = stages_of(override(recipes.get(spec.recipe), spec.overrides).practice_rounds)
    return names if spec.kind == PIPELINE else names[: names.index(spec.kind) + 1]


def _stage_argv(spec: JobSpec) -> list[str]:
    settings = [part for override in spec.overrides for part in ("--set", override)]
    return module_command("apps.cli", "run", spec.kind, "--recipe", spec.recipe, "--run", spec.run, *settings)


def _last_file(spec: JobSpec) -> str:
    last = "report.html" if spec.kind == PIPELINE else f"{spec.kind}/outputs.json"
    return f"runs/{spec.run}/{last}"
