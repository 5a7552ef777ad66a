"""The studies behind `wovr reproduce`: which units there are, what is left, and how a unit becomes rows.

A unit is one arm (or world model) on one suite with one seed. Its rows are written as they are finished; a row that is
there with the same configuration is never made again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.reproduce.arms import ABLATIONS, AGREEMENT, MAIN, WORLD_MODELS, find_arm
from workbench.reproduce.corrections import CORRECTION_ARMS, NOISY, CorrectionsJob
from workbench.reproduce.estimates import Estimate, estimate
from workbench.reproduce.job import ArmJob
from workbench.reproduce.results import Results, Row
from workbench.reproduce.stage_store import StageStore
from wovr_core.audit.hallucination import SCORES
from wovr_core.config import to_dict
from wovr_core.envs.libero_suites import SUITES
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import UnknownNameError, WovrError
from wovr_core.files import fingerprint, read_json
from wovr_core.recipes import Recipe, check
from wovr_core.run_folder import Run, resolve_run

logger = logging.getLogger("wovr.reproduce")
STUDIES = {
    "main": MAIN,
    "ablations": ABLATIONS,
    "world-model": tuple(WORLD_MODELS),
    "hallucination": ("wovr",),
    "agreement": tuple(AGREEMENT),
    "corrections": tuple(CORRECTION_ARMS),
}
"""Study -> names of its arms, or of its world models."""


@dataclass(frozen=True)
class SuiteTasks:
    """Some tasks of a suite, learned together by one policy."""

    suite: str
    tasks: tuple[int, ...]


DEFAULT_SUITES = (
    SuiteTasks("libero_object", (0, 1, 2)),
    SuiteTasks("libero_spatial", (0, 1, 2)),
    SuiteTasks("libero_goal", (0, 1, 2)),
    SuiteTasks("libero_10", (0, 1, 2)),
)


@dataclass(frozen=True)
class StudyConfig:
    """What to run of a study, and where."""

    study: str
    recipe: Recipe
    suites: tuple[SuiteTasks, ...] = DEFAULT_SUITES
    seeds: tuple[int, ...] = (0, 1)
    """Of all that follows the shared stages; those use the recipe's seed."""
    only: tuple[str, ...] = ()
    """Names of suites, arms or world models; empty for all."""
    run: str = "reproduce"
    """The run folders are named `<run>-<suite>`."""
    results: Path = Path("results")
    budget_minutes: float | None = None
    """No stage begins later than this."""
    command: str = ""
    """What makes these rows again, written beside them."""


@dataclass(frozen=True)
class Unit:
    """What is run in one go: one arm, or one world model, of one suite, with one seed."""

    suite: SuiteTasks
    name: str
    seed: int
    recipe: Recipe
    """With the suite's environment and tasks."""

    def config(self, study: str) -> str:
        """Digest of everything that decides the rows, but for the code."""
        if study == "world-model":
            switches: object = WORLD_MODELS[self.name]
        elif study == "agreement":
            switches = AGREEMENT[self.name]
        else:
            switches = to_dict(CORRECTION_ARMS[self.name] if study == "corrections" else find_arm(self.name))
        return fingerprint([to_dict(replace(self.recipe, workers=0)), switches, self.seed])

    def __str__(self) -> str:
        return f"{self.suite.suite} {self.name} seed {self.seed}"


def units(config: StudyConfig) -> list[Unit]:
    """All units that `only` leaves, seed by seed, so that a complete table with one seed comes first.

    Raises:
        UnknownNameError, WovrError: a study, suite, task or arm that does not exist; a recipe that cannot work.
    """
    if config.study not in STUDIES:
        raise UnknownNameError("study", config.study, STUDIES)
    names = STUDIES[config.study]
    suites = [s.suite for s in config.suites]
    for word in config.only:
        if word not in (*suites, *names):
            raise UnknownNameError("suite or arm", word, [*suites, *names])
    if not config.seeds:
        raise WovrError("no seed to run with, for example --seeds 0,1")
    found = []
    for seed in config.seeds:
        for suite in config.suites:
            if suite.suite not in SUITES:
                raise UnknownNameError("suite", suite.suite, SUITES)
            recipe = replace(config.recipe, tasks=suite.tasks, env=replace(config.recipe.env, suite=suite.suite))
            check(recipe)
            found += [Unit(suite, name, seed, recipe) for name in names if _wanted(config, suite, name, seed)]
    if config.recipe.evaluate.temperature == 0:
        # The base policy is the same for all seeds, and acting greedily it does the same: one row says it all.
        found = [u for u in found if u.name != "base" or u.seed == config.seeds[0]]
    return found


def _wanted(config: StudyConfig, tasks: SuiteTasks, name: str, seed: int) -> bool:
    if config.study == "corrections" and name in NOISY and (tasks, seed) != (config.suites[0], config.seeds[0]):
        return False  # wrong flags are studied on one suite, with one seed
    suite = tasks.suite
    suites = {s.suite for s in config.suites}
    by_suite = [w for w in config.only if w in suites]
    by_name = [w for w in config.only if w not in suites]
    return (not by_suite or suite in by_suite) and (not by_name or name in by_name)


def results_of(config: StudyConfig) -> Results:
    """The study's results file."""
    return Results(config.results / f"{config.study}.json", config.command or f"wovr reproduce {config.study}")


def left(config: StudyConfig) -> list[Unit]:
    """The units that have a row to make."""
    results = results_of(config)
    return [u for u in units(config) if not _finished(config, results, u)]


def _finished(config: StudyConfig, results: Results, unit: Unit) -> bool:
    digest = unit.config(config.study)
    return all(results.finished(wanted, digest) for wanted in _identities(config, unit))


def _identities(config: StudyConfig, unit: Unit) -> list[Row]:
    if config.study == "world-model":
        from workbench.reproduce.world_models import HORIZONS

        keys: Row = {"suite": unit.suite.suite, "variant": unit.name, "seed": unit.seed}
        return [keys | {"horizon": h} for h in HORIZONS]
    if config.study == "agreement":
        return [{"suite": unit.suite.suite, "variant": unit.name, "seed": unit.seed}]
    keys = {"suite": unit.suite.suite, "arm": unit.name, "seed": unit.seed}
    if config.study == "hallucination":
        return [keys | {"score": score} for score in SCORES]
    return [keys | {"task": task} for task in unit.suite.tasks]


def estimate_left(config: StudyConfig) -> Estimate:
    """About how long the rest takes, from the stages that are done."""
    return estimate(
        [(u.suite.suite, u.name) for u in left(config)], config.study, _folders(config), config.recipe.practice_rounds
    )


def _folders(config: StudyConfig) -> dict[str, Path]:
    return {s.suite: _folder(config, s.suite) for s in config.suites}


def _folder(config: StudyConfig, suite: str) -> Path:
    return resolve_run(f"{config.run}-{suite}")


def run_study(config: StudyConfig, on_stage: Callable[[str], None] = lambda name: None) -> Iterator[Row]:
    """Make the rows that are missing, one by one; each is on disk when it is yielded.

    Raises:
        OutOfTime: `budget_minutes` are spent; the same call goes on from there.
    """
    deadline = None if config.budget_minutes is None else time.monotonic() + 60 * config.budget_minutes
    results = results_of(config)
    todo = left(config)
    with EnvPool(workers=config.recipe.workers) as pool:
        for unit in todo:
            logger.info("== %s", unit)
            with Run(_folder(config, unit.suite.suite), unit.recipe, shared=True) as run:
                yield from _rows(config, unit, results, StageStore(run, deadline, on_stage), pool)


def _rows(config: StudyConfig, unit: Unit, results: Results, store: StageStore, pool: EnvPool) -> Iterator[Row]:
    if config.study == "world-model":
        from workbench.reproduce.world_models import quality_rows

        made: Sequence[Row] = quality_rows(store, unit.recipe, unit.name, unit.seed, pool)
        digest = unit.config(config.study)
        rows = [row | {"suite": unit.suite.suite, "seed": unit.seed, "config": digest} for row in made]
        results.put(rows)
        yield from rows
        return
    rows_of = {
        "hallucination": _hallucination_rows,
        "corrections": _correction_rows,
        "agreement": _agreement_rows,
    }
    for row in rows_of.get(config.study, _arm_rows)(config, unit, store, pool):
        results.put([row])
        yield row


def _arm_rows(config: StudyConfig, unit: Unit, store: StageStore, pool: EnvPool) -> Iterator[Row]:
    """One row per task: real success, what it cost, and (in the ablations) how often imagination was false."""
    job = ArmJob(store, unit.recipe, find_arm(unit.name), unit.seed, pool)
    trained = job.train()
    audited: list[Row] | None = None
    if config.study == "ablations" and trained.simulator is not None:
        audited = list(read_json(Path(job.audit(trained).rows)))
    digest = unit.config(config.study)
    for outcome in job.evaluations(trained):
        row: Row = {
            "suite": unit.suite.suite,
            "task": outcome.task,
            "arm": unit.name,
            "seed": unit.seed,
            "successes": sum(outcome.outcomes),
            "trials": len(outcome.outcomes),
            "outcomes": "".join("01"[o] for o in outcome.outcomes),
            "real_episodes": trained.real[outcome.task],
            "minutes": round(job.minutes(), 2),
            "config": digest,
        }
        if audited is not None:
            row |= _false_successes([a for a in audited if a["task"] == f"{unit.suite.suite}/{outcome.task}"])
        yield row


def _false_successes(audited: Sequence[Row]) -> Row:
    imagined = sorted((a for a in audited if a["imagined_success"]), key=lambda a: int(a["depth"]))
    return {
        "imagined_successes": len(imagined),
        "false_successes": sum(not a["real_success"] for a in imagined),
        "depths": [a["depth"] for a in imagined],
        "false": "".join("10"[a["real_success"]] for a in imagined),
    }


def _correction_rows(config: StudyConfig, unit: Unit, store: StageStore, pool: EnvPool) -> Iterator[Row]:
    """One row per task: false and real successes after another round with this arm's corrections."""
    keys: Row = {"suite": unit.suite.suite, "arm": unit.name, "seed": unit.seed}
    job = CorrectionsJob(store, unit.recipe, CORRECTION_ARMS[unit.name], unit.seed, pool)
    for row in job.rows():
        yield keys | row | {"config": unit.config(config.study)}


def _hallucination_rows(config: StudyConfig, unit: Unit, store: StageStore, pool: EnvPool) -> Iterator[Row]:
    """One row per score: how well it ranks what the audit found false, without having seen it."""
    job = ArmJob(store, unit.recipe, find_arm(unit.name), unit.seed, pool)
    outputs = job.score_hallucination(job.train())
    digest = unit.config(config.study)
    for score in SCORES:
        yield {
            "suite": unit.suite.suite,
            "arm": unit.name,
            "seed": unit.seed,
            "score": score,
            "false_success": outputs.false_success[score],
            "wrong_outcome": outputs.wrong_outcome[score],
            "against": outputs.against_rivals.get(score),
            "config": digest,
        }


def _agreement_rows(config: StudyConfig, unit: Unit, store: StageStore, pool: EnvPool) -> Iterator[Row]:
    """One row: how well imagination orders siblings, with the world model trained in full or for a part of it."""
    job = ArmJob(store, unit.recipe, find_arm("wovr"), unit.seed, pool)
    outputs = job.measure_agreement(AGREEMENT[unit.name])
    yield {
        "suite": unit.suite.suite,
        "variant": unit.name,
        "seed": unit.seed,
        "world_model_steps": unit.recipe.world_model.transformer.steps // AGREEMENT[unit.name],
        "imagined_lifted": outputs.imagined_lifted,
        "imagined_promised": outputs.imagined_promised,
        "promised_lifted": outputs.promised_lifted,
        "lifted": outputs.lifted,
        "config": unit.config(config.study),
    }
