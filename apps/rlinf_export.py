"""`wovr export rlinf`: all that RLinf's Wan environment needs of a run: starts, world model, reward model, a config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.formats.conventions import resize
from wovr_core.data.formats.rlinf_dataset import RLinfStart, check_enough, plain_start, write_start
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.errors import Interrupted, WovrError
from wovr_core.files import fingerprint, read_json, sha256_file, write_json
from wovr_core.interrupts import stop_requested
from wovr_core.models_in_use import models_in_use
from wovr_core.rounds import in_rounds
from wovr_core.stages.progress import Progress

if TYPE_CHECKING:
    from wovr_core.reward.rlinf import ResnetReward, RlinfReward, TaskEmbedReward
    from wovr_core.stages.train_rlinf_reward import OwnClassifier

_KEYFRAMES = ("keyframes_evolved", "keyframes")
"""Stages of a run, the best first."""
_RECORD = "wovr_export.json"
REWARD_STAGES = ("rlinf_reward_own", "rlinf_reward")
"""Where a run keeps reward models for RLinf: its own classifier's in RLinf's network, and one trained on the truth. The
first that is there is exported."""


@dataclass(frozen=True)
class RLinfExportConfig:
    """What RLinf is to be given."""

    environments: int = 8
    """Parallel ones that it will run; each needs a start of its own."""
    group_size: int = 8
    size: int = 256
    """H = W of the pictures; RLinf's Wan models want 256."""
    policy: str = "openvla-oft"
    """The OpenVLA-OFT checkpoint, as RLinf's machine sees it."""
    folder: str = ""
    """The exported folder, as RLinf's machine sees it; empty: as this one does."""
    world_model: Path | None = None
    """A checkpoint in place of the run's."""
    reward: Path | None = None
    """A .pth file in place of the run's."""
    any_size: bool = False
    """Write a world model that RLinf itself cannot read, because it is not of the published size."""


@dataclass
class RLinfExport:
    """What was written."""

    plain: int = 0
    keyframes: int = 0
    files: list[str] = field(default_factory=list)
    """Of models and configuration."""
    missing: list[str] = field(default_factory=list)
    """What RLinf still lacks, and why."""
    notes: list[str] = field(default_factory=list)


def write(run: Path, episodes: Path, out: Path, config: RLinfExportConfig) -> RLinfExport:
    """Write `out/dataset`, both models as far as they are RLinf's kind, and RLinf's configuration.

    An `out` that this wrote before is brought up to date: starts that are there already are kept.

    Args:
        episodes: whose first frames become plain starts; each keyframe of the run becomes a file of five frames.

    Raises:
        WovrError: fewer starts than parallel environments; environments that are no whole groups; `out` holds
            something else; a reward model that does not fit.
        UnknownNameError: the episodes are of no LIBERO suite, in which RLinf evaluates.
        Interrupted: asked to stop; the same call goes on from there.
    """
    from wovr_core.envs import libero_suites
    from wovr_core.rlinf_config import RlinfRun, write_configuration

    if out.exists() and any(out.iterdir()) and not (out / _RECORD).exists():
        raise WovrError(f"{out} is not empty: choose another --out")
    first, suite = _first(episodes)
    # What is wrong with the settings or the reward model is said before anything is written.
    settings = RlinfRun(
        suite, config.policy, config.folder or str(out), environments=config.environments,
        group_size=config.group_size, image_size=config.size,
    )  # fmt: skip
    reward = _find_reward(run, config, [task.instruction for task in libero_suites.tasks(suite)])
    done = RLinfExport()
    version = _write_starts(run, episodes, out, config, done)
    _write_world_model(run, out, config, done)
    kind = _write_reward(out, reward, done)
    if config.reward is not None:
        done.notes += _told_of(config.reward)
    path = write_configuration(out, replace(settings, reward=kind, keyframes=done.keyframes > 0))
    done.files.append(path.name)
    write_json(out / _RECORD, {"run": run.name, "starts": version, "files": done.files})
    if first != config.size:
        done.notes.append(
            f"pictures were scaled from {first} to {config.size} pixels: collect at {config.size} px (--set env.size) "
            "for sharp ones"
        )
    if not done.keyframes:
        done.notes.append("the run has no keyframes: only first frames were written; `wovr run keyframes` makes some")
    return done


def train_reward(run: Path, size: int, assignments: Sequence[str], own: bool = False) -> Path:
    """Train RLinf's reward model on all real episodes of a run, in one of REWARD_STAGES; goes on where it stopped.

    Args:
        size: H = W that it will be shown.
        assignments: KEY=VALUE of `RlinfRewardConfig`.
        own: teach it what the run's own classifier says of the episodes, and of the world model's pictures of them, in
            place of the truth.

    Raises:
        WovrError: the run has too few episodes, or no classifier of its own, or has trained one with another
            configuration.
    """
    from wovr_core.config import override
    from wovr_core.envs import libero_suites
    from wovr_core.stages.train_rlinf_reward import RlinfRewardConfig, RlinfRewardInputs
    from wovr_core.stages.train_rlinf_reward import run as train

    having = {path.parent.name for path in run.glob("*/episodes")}
    evolved = in_rounds(run, "collect_evolved")
    stages = [stage for stage in ("collect", "import", "collect_base", *evolved) if stage in having]
    if not stages:
        raise WovrError(f"{run} holds no episodes to train the reward model on")
    folders = [run / stage / "episodes" for stage in stages]
    suite = _first(folders[0])[1]
    tasks = libero_suites.tasks(suite) if suite in libero_suites.SUITES else ()
    # LIBERO-Goal has one scene: whether a picture is a success depends on the task.
    config = override(RlinfRewardConfig(told_the_task=suite == "libero_goal", image_size=size), assignments)
    versions = tuple(fingerprint(sorted(EpisodeSet(folder).paths)) for folder in folders)
    inputs = RlinfRewardInputs(
        tuple(str(folder) for folder in folders), versions, seed=0, instructions=tuple(t.instruction for t in tasks),
        teacher=_own_classifier(run) if own else None,
    )  # fmt: skip
    return Path(train(config, inputs, run / REWARD_STAGES[0 if own else 1]).reward)


def _own_classifier(run: Path) -> OwnClassifier:
    """Raises WovrError where the run has not got that far."""
    from wovr_core.config import from_dict
    from wovr_core.model_files import REWARD, WORLD_MODEL
    from wovr_core.stages.train_reward import RewardTrainingConfig
    from wovr_core.stages.train_rlinf_reward import OwnClassifier

    models, settings = models_in_use(run), run / REWARD / "config.json"
    if REWARD not in models or WORLD_MODEL not in models or not settings.is_file():
        raise WovrError(f"{run} has no world model and classifier of its own yet: `wovr run reward` makes them")
    training = from_dict(RewardTrainingConfig, read_json(settings)["config"], str(settings))
    return OwnClassifier(models[REWARD], models[WORLD_MODEL], training)


def _first(episodes: Path) -> tuple[int, str]:
    """Height of an episode's pictures, and the suite of all."""
    found = EpisodeSet(episodes)
    suites = sorted({summary.task.suite for summary in found.summaries()})
    if len(suites) != 1:
        raise WovrError(f"{episodes} holds episodes of {len(suites)} suites {suites}: RLinf takes one at a time")
    return int(next(iter(found)).frames.shape[1]), suites[0]


def _write_starts(run: Path, episodes: Path, out: Path, config: RLinfExportConfig, done: RLinfExport) -> str:
    """`out/dataset`; returns the version of the starts."""
    paths = EpisodeSet(episodes)
    file = next((p for p in (run / stage / "keyframes.safetensors" for stage in _KEYFRAMES) if p.is_file()), None)
    keyframes = read_keyframes(file) if file else []
    check_enough(len(paths) + len(keyframes), config.environments)
    sources = [*paths.paths.values(), *([file] if file else [])]
    version = fingerprint([config.size, *(sha256_file(path) for path in sources)])
    record, dataset = out / _RECORD, out / "dataset"
    known = read_json(record).get("starts") == version if record.exists() else False
    if not known:
        for stale in dataset.glob("traj*.npy"):
            stale.unlink()
        write_json(record, {"run": run.name, "starts": version, "files": []})
    progress = Progress("export", len(paths) + len(keyframes), "start")
    for index, start in enumerate(_starts(paths, keyframes, config.size)):
        name = dataset / f"traj{index}{'_kir' if start.keyframe else ''}.npy"
        if not name.exists():
            write_start(dataset, index, start)
        done.keyframes += start.keyframe
        done.plain += not start.keyframe
        progress.update(1)
        if stop_requested():
            progress.close()
            raise Interrupted("stopped the export; the same command goes on from there")
    progress.close()
    return version


def _starts(episodes: EpisodeSet, keyframes: Sequence[Any], size: int) -> Iterator[RLinfStart]:
    for episode in episodes:
        yield plain_start(resize(episode.frames[:1], size)[0], episode.task.instruction)
    for start in keyframes:
        yield RLinfStart(start.task.instruction, resize(start.context_frames, size), start.context_actions)


def _write_world_model(run: Path, out: Path, config: RLinfExportConfig, done: RLinfExport) -> None:
    """The world model in use, where it is of the published kind and size."""
    from wovr_core.model_files import WORLD_MODEL, load_world_model
    from wovr_core.rlinf import write_rlinf_weights
    from wovr_core.world_model.rlinf import TRANSFORMER_FILE, VAE_FILE

    checkpoint = config.world_model or models_in_use(run).get(WORLD_MODEL)
    there = all((out / name).is_file() for name in (TRANSFORMER_FILE, VAE_FILE))
    try:
        if checkpoint is None:
            raise WovrError("the run has none; give one with --world-model, or put RLinf's own beside dataset/")
        model, version = load_world_model(checkpoint)
        files = write_rlinf_weights(out, model, any_size=config.any_size)
    except WovrError as error:
        if config.world_model is not None:
            raise
        if there:
            done.notes.append(f"world model: that which lies in {out} is kept ({error})")
        else:
            done.missing.append(f"world model: {error}")
        return
    done.files += [path.name for path in files]
    done.notes.append(f"world model: {version}, of {checkpoint}")


def _find_reward(run: Path, config: RLinfExportConfig, instructions: Sequence[str]) -> RlinfReward | None:
    """The reward model of RLinf's kind: the one that was given, or the one that the run has trained."""
    from wovr_core.reward.rlinf import from_state
    from wovr_core.world_model.rlinf import load_state

    path = config.reward
    done = next((run / stage for stage in REWARD_STAGES if (run / stage / "outputs.json").is_file()), None)
    if path is None and done:
        path = done / Path(read_json(done / "outputs.json")["outputs"]["reward"]).name
    return None if path is None else from_state(load_state(path), instructions)


def _told_of(reward: Path) -> list[str]:
    """What its training measured, where the file is one that a run has trained; shares of held-out frames."""
    record = reward.parent / "outputs.json"
    if reward.parent.name not in REWARD_STAGES or not record.is_file():
        return []
    found = read_json(record)["outputs"]
    of, share, other = "really successful", found["true_positives"], found["false_positives"]
    if found.get("teacher"):
        of, share, other = "those that the run's own does", found["teacher_positives"], found["teacher_negatives"]
    return [f"reward model: says success of {share:.0%} of {of} held-out frames, of {other:.0%} of the others"]


def _write_reward(out: Path, reward: RlinfReward | None, done: RLinfExport) -> type[ResnetReward | TaskEmbedReward]:
    """Returns the kind that RLinf will find: the written one, or that which somebody has put there."""
    from wovr_core.reward.rlinf import ResnetReward, TaskEmbedReward
    from wovr_core.rlinf import write_rlinf_reward

    kinds = (ResnetReward, TaskEmbedReward)
    if reward is not None:
        done.files.append(write_rlinf_reward(out, reward).name)
        for kind in kinds:
            if not isinstance(reward, kind):
                (out / kind.file).unlink(missing_ok=True)  # RLinf takes one
        return type(reward)
    there = next((kind for kind in kinds if (out / kind.file).is_file()), None)
    if there is None:
        done.missing.append(
            "reward model: the run's own is of another kind than RLinf's. --own-reward teaches RLinf's what the run's "
            f"own says, --train-reward trains it on the episodes; or put its {ResnetReward.file} beside dataset/"
        )
    else:
        done.notes.append(f"reward model: the {there.file} that lies there is kept")
    return there or ResnetReward
