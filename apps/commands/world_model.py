"""`wovr world-model`: train the world model alone, say beforehand what that takes, exchange it with RLinf."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.parsing import add_assignments

if TYPE_CHECKING:
    from wovr_core.world_model.model import WorldModelConfig


def add_commands(commands: Any, common: Any) -> None:
    """Add `world-model` to the parsers."""
    parser = commands.add_parser(
        "world-model", help="train the world model alone, on GPUs; preflight of memory and time"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("preflight", "parameters, memory on each GPU, hours"),
        ("train", "train on episodes; on several GPUs: accelerate launch -m apps.cli world-model train ..."),
    ):
        one = actions.add_parser(name, parents=[common], help=text)
        one.add_argument("--recipe", default="wan22_5b", help="named configuration (default: wan22_5b)")
        add_assignments(one)
        if name == "preflight":
            one.add_argument("--gpus", type=int, default=1, help="GPUs (default: 1)")
            one.add_argument("--memory", type=float, default=None, metavar="GIB", help="of each (default: ask the GPU)")
            one.add_argument(
                "--tflops", type=float, default=None, help="bf16 peak of each (default: by the GPU's name)"
            )
        else:
            one.add_argument(
                "--episodes", type=Path, action="append", required=True, metavar="FOLDER", help="may be repeated"
            )
            one.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="goes on where it stopped")
        one.set_defaults(function=_preflight if name == "preflight" else _train)

    one = actions.add_parser("import-rlinf", parents=[common], help="an RLinf-Wan folder's world model as a checkpoint")
    one.add_argument("folder", type=Path, metavar="FOLDER", help="with model-00001.safetensors and Wan2.2_VAE.pth")
    one.add_argument("--out", type=Path, required=True, metavar="CHECKPOINT")
    add_assignments(one, "for a model of another size, for example layers=30")
    one.set_defaults(function=_import)
    one = actions.add_parser(
        "export-rlinf", parents=[common], help="a world model for RLinf: weights and configuration"
    )
    one.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    one.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    one.add_argument("--reward", type=Path, default=None, metavar="FILE", help="an RLinf reward model (.pth)")
    one.add_argument("--suite", default="libero_spatial", help="(default: libero_spatial)")
    one.add_argument("--policy", default="/path/to/openvla-oft", help="where RLinf's machine has the policy")
    one.add_argument("--any-size", action="store_true", help="although RLinf reads only the published size")
    one.set_defaults(function=_export)
    one = actions.add_parser("rlinf-reward", parents=[common], help="train RLinf's reward model on episodes")
    one.add_argument("--episodes", type=Path, action="append", required=True, metavar="FOLDER", help="may be repeated")
    one.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    add_assignments(one, "change its training, e.g. steps=900")
    one.set_defaults(function=_reward)


def _import(arguments: argparse.Namespace) -> int:
    from wovr_core.config import override
    from wovr_core.model_files import WORLD_MODEL, save_model
    from wovr_core.rlinf import read_rlinf_weights
    from wovr_core.world_model.rlinf import RLINF_WORLD_MODEL

    config = override(RLINF_WORLD_MODEL, arguments.assignments)
    found = read_rlinf_weights(arguments.folder, config=config, with_reward=False)
    for name, report in found.reports.items():
        print(f"{name}: {report}")
    version = save_model(arguments.out, WORLD_MODEL, found.world_model, lineage={"rlinf": arguments.folder.name})
    print(f"{arguments.out}: version {version}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from wovr_core.envs.libero_suites import tasks
    from wovr_core.model_files import load_world_model
    from wovr_core.reward.rlinf import from_state
    from wovr_core.rlinf import write_rlinf_weights
    from wovr_core.rlinf_config import RlinfRun, write_configuration
    from wovr_core.world_model.rlinf import load_state

    settings = RlinfRun(arguments.suite, arguments.policy, str(arguments.out.absolute()))
    model, _ = load_world_model(arguments.checkpoint)
    reward = None
    if arguments.reward:
        reward = from_state(load_state(arguments.reward), [task.instruction for task in tasks(arguments.suite)])
    files = write_rlinf_weights(arguments.out, model, reward, any_size=arguments.any_size)
    files.append(write_configuration(arguments.out, replace(settings, reward=type(reward)) if reward else settings))
    for path in files:
        print(path)
    return 0


def _reward(arguments: argparse.Namespace) -> int:
    from wovr_core.config import override
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.stages import train_rlinf_reward

    config = override(train_rlinf_reward.RlinfRewardConfig(), arguments.assignments)
    inputs = train_rlinf_reward.RlinfRewardInputs(*_folders(arguments.episodes), seed=0)
    with polite_interrupts():
        done = train_rlinf_reward.run(config, inputs, arguments.out)
    print(f"{done.reward}: recognises {done.true_positives:.1%} of successful held-out frames, "
          f"{done.false_positives:.1%} of the others")  # fmt: skip
    return 0


def _folders(folders: list[Path], model: WorldModelConfig | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folders as names, and a version of each: of its files' names.

    Args:
        model: that is to learn from them.

    Raises:
        CorruptFileError: no such folder.
        WovrError: there are no episodes in one, or of another size than the model's.
    """
    from wovr_core.data.episode_files import EpisodeSet
    from wovr_core.errors import WovrError
    from wovr_core.files import fingerprint

    for folder in folders:
        if not len(EpisodeSet(folder)):
            raise WovrError(f"{folder} holds no episodes (*.safetensors); a run keeps them in RUN/collect/episodes")
        found = next(iter(EpisodeSet(folder))).frames.shape[1]
        if model is not None and found != model.image_size:
            codec = "wan.codec" if model.wan else "codec"
            raise WovrError(
                f"{folder} has pictures of {found} pixels, and this recipe's world model draws {model.image_size}: "
                f"--set world_model.model.{codec}.image_size={found}, or import them with --size {model.image_size}"
            )

    versions = (fingerprint(sorted(path.name for path in folder.glob("*.safetensors"))) for folder in folders)
    return tuple(str(folder) for folder in folders), tuple(versions)


def _preflight(arguments: argparse.Namespace) -> int:
    from wovr_core.errors import WovrError
    from wovr_core.stages.preflight import preflight

    config = _recipe(arguments).world_model
    if any(value is not None and value <= 0 for value in (arguments.gpus, arguments.memory, arguments.tflops)):
        raise WovrError("--gpus, --memory and --tflops must be positive")
    memory = int(arguments.memory * 2**30) if arguments.memory else None
    found = preflight(config, arguments.gpus, memory, arguments.tflops)
    for line in found.lines():
        print(line)
    return 0 if found.fits is not False else 1


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from wovr_core.interrupts import polite_interrupts
    from wovr_core.stages import train_world_model
    from wovr_core.stages.preflight import preflight

    recipe = _recipe(arguments)
    torch.set_num_threads(recipe.threads)
    config = recipe.world_model
    engine = config.transformer.engine
    if torch.cuda.is_available():
        preflight(config, engine.world).require()
    inputs = train_world_model.WorldModelInputs(*_folders(arguments.episodes, config.model), recipe.seed)
    with polite_interrupts():
        outputs = train_world_model.run(config, inputs, arguments.out)
    if engine.main:
        print(f"{outputs.world_model}: version {outputs.version}")
    return 0


def _recipe(arguments: argparse.Namespace) -> Any:
    from wovr_core import recipes
    from wovr_core.config import override

    return override(recipes.get(arguments.recipe), arguments.assignments)
