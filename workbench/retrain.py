"""The loop closed by hand: refine a run's models with a version of corrections, then imagine a rollout again.

A refinement is a stage of its own in the run, `refine_<version>`: it starts from the models that the run ended with,
learns from the same episodes as the run's own refinement did, and from the corrections beside them. Nothing that was
there is changed; whether the refined models are better is measured as ever (promotion), and both are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.branch import judged, keyframe_of
from workbench.jobs.kinds import JobKind, module_command, register_kind
from workbench.jobs.spec import JobSpec, Resources
from workbench.run_data import RunData
from workbench.scrubber import divergence
from workbench.scrubber.payload import Payload
from workbench.side_by_side import laid_over
from wovr_core.data.corrections import MANIFEST, CorrectionSet
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import read_json
from wovr_core.imagination import imagine_actions
from wovr_core.recipes import Recipe
from wovr_core.rounds import in_rounds
from wovr_core.run_folder import Run
from wovr_core.stages import refine_world_model
from wovr_core.stages.imagine import Simulator, make_env
from wovr_core.stages.refine_world_model import RefineInputs, RefineOutputs
from wovr_core.types import Episode, FloatArray, Rollout

CORRECTIONS = "corrections"
"""Where a run keeps its versions."""
KIND = "refine_corrected"


@dataclass(frozen=True)
class RefineParameters:
    """What a job of this kind takes."""

    corrections: str
    """A version of the run's corrections."""


def versions(run: Path) -> list[str]:
    """The run's versions of corrections, newest first."""
    found = [path.parent for path in (run / CORRECTIONS).glob("[!.]*/" + MANIFEST)]
    return [path.name for path in sorted(found, key=lambda path: (-path.stat().st_mtime, path.name))]


def corrections_of(run: Path, version: str) -> CorrectionSet:
    """One of them. Raises UnknownNameError ("did you mean"), CorruptFileError."""
    known = versions(run)
    if version not in known:
        raise UnknownNameError(f"version of corrections in {run.name}:", version, known)
    return CorrectionSet(run / CORRECTIONS / version)


def stage_of(version: str) -> str:
    """The folder of the refinement with this version."""
    return f"refine_{version}"


def job_of(run: str, version: str) -> JobSpec:
    """The job that refines `run` with `version`. Its key: `key_of`."""
    return JobSpec(KIND, run, parameters={"corrections": version}, resources=Resources(cores=1))


def key_of(run: str, version: str) -> str:
    """One refinement per version: asked for twice it is one job."""
    return f"{KIND} {run} {version}"


def refine(run: Path, version: str) -> RefineOutputs:
    """Refine world model and reward with a version of corrections, or go on with it.

    Raises:
        WovrError: the run has not come as far as its own refinement, or another wovr is working in it.
        UnknownNameError: no such version, or a recipe of another time.
    """
    corrections = corrections_of(run, version)
    data = RunData(run)
    recipe = data.recipe()
    torch.set_num_threads(recipe.threads)
    with Run(run, recipe) as folder:
        inputs = _inputs(data, recipe, corrections.folder)
        return folder.stage(stage_of(version), refine_world_model.run, recipe.refine, inputs)


def _inputs(data: RunData, recipe: Recipe, corrections: Path) -> RefineInputs:
    made = data.finished(("collect", "collect_base", "collect_evolved", "reward", "refine"))
    between = in_rounds(data.path, "collect_evolved")[:-1]
    old = [made["collect_base"], made["collect"], *data.finished(between).values()]
    return RefineInputs(
        old_episodes=tuple(str(outputs["episodes"]) for outputs in old),
        new_episodes=str(made["collect_evolved"]["episodes"]),
        versions=(*(str(outputs["version"]) for outputs in old), str(made["collect_evolved"]["version"])),
        world_model=Path(made["refine"]["world_model"]),
        reward=Path(made["refine"]["reward"]),
        calibration_episodes=tuple(made["reward"]["held_out"]),
        reward_training=recipe.reward,
        seed=recipe.seed,
        corrections=corrections,
    )


def refined(run: Path, version: str) -> dict[str, Any] | None:
    """What the refinement with this version gave (RefineOutputs as JSON), or None while it is not finished."""
    path = run / stage_of(version) / "outputs.json"
    return dict(read_json(path)["outputs"]) if path.is_file() else None


def imagine_again(data: RunData, rollout: Rollout, version: str) -> Rollout:
    """The rollout's actions and noise, imagined by the models refined with `version`, promoted or not.

    Raises WovrError while there are none.
    """
    if refined(data.path, version) is None:
        raise WovrError(f"{data.name} has not been refined with {version} yet; start that job first")
    stage = data.path / stage_of(version)
    config = read_json(data.path / "imagine" / "config.json")["config"]
    chunks = len(rollout.loss_mask)
    simulator = Simulator(stage / "policy", stage / "world_model", stage / "reward")  # the actions are given
    env = make_env(simulator, config["solver_steps"], chunks)
    frames, p_success = imagine_actions(env, keyframe_of(rollout), rollout.actions, rollout.sampler_seed)
    limit = env.config.success_threshold
    again = replace(
        rollout,
        id=f"{rollout.id}-again-{version[:8]}",
        frames=frames,
        log_probs=np.full_like(rollout.log_probs, np.nan),
        info=rollout.info | {"again": rollout.id, "success_threshold": str(limit)},
    )
    return judged(again, p_success, limit, config["discount"])


def before_and_after(before: Rollout, after: Rollout, real: Episode | None = None) -> Payload:
    """For the scrubber: the rollout as it was imagined, as it is now, their difference, and how far either is from
    what really happened, where that is known."""
    payload = laid_over(before, after, titles=("imagined before", "imagined after", "|after - before|"))
    by_key = {curve["key"]: curve for curve in payload.meta["curves"]}
    p_after = by_key["p_success"] | {"title": "p success, after"}
    p_before = p_after | {"key": "p_before", "title": "p success, before", "values": _rounded(before.p_success)}
    curves = [by_key["divergence"] | {"title": "after - before"}]
    badges = [_badge("before", before), _badge("after", after)]
    if real is not None:
        n = min(len(real.frames), len(before.frames), len(after.frames))
        gaps = {
            title: divergence.per_frame(real.frames[:n], one.frames[:n])
            for title, one in (("before - real", before), ("after - real", after))
        }
        top = max(8.0, *(float(gap.max(initial=0)) for gap in gaps.values()))
        curves += [
            by_key["divergence"]
            | {"key": title.replace(" - ", "_"), "title": title, "values": _rounded(gap), "range": [0.0, top]}
            for title, gap in gaps.items()
        ]
        means = [float(gap.mean()) for gap in gaps.values()]
        tone = "good" if means[1] < means[0] else "warn"
        badges.append({"text": f"off reality by {means[0]:.1f} before, {means[1]:.1f} after (of 255)", "tone": tone})
    return payload.with_meta(curves=[*curves, p_before, p_after], badges=badges, can_edit=False)


def _badge(when: str, rollout: Rollout) -> dict[str, str]:
    return {"text": f"{when}: {'success' if rollout.imagined_success else 'no success'}", "tone": ""}


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _argv(spec: JobSpec) -> Sequence[str]:
    return module_command("apps.cli", "refine", spec.run, "--corrections", str(spec.parameters["corrections"]))


def _stages(spec: JobSpec) -> Sequence[str]:
    return [stage_of(str(spec.parameters["corrections"]))]


def _finished(spec: JobSpec) -> str:
    return f"runs/{spec.run}/{stage_of(str(spec.parameters['corrections']))}/outputs.json"


REFINE_CORRECTED = register_kind(
    JobKind(
        name=KIND,
        what="a run's world model and reward once more, with a version of corrections",
        argv=_argv,
        parameters=RefineParameters,
        stages=_stages,
        finished=_finished,
    )
)
