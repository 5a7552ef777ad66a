"""`wovr world-model`: train the world model alone, on any episodes; say beforehand what that takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


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
        one.add_argument(
            "--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE", help="change a key of it"
        )
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


def _preflight(arguments: argparse.Namespace) -> int:
    from wovr_core.stages.preflight import preflight

    config = _recipe(arguments).world_model
    memory = int(arguments.memory * 2**30) if arguments.memory else None
    found = preflight(config, arguments.gpus, memory, arguments.tflops)
    for line in found.lines():
        print(line)
    return 0 if found.fits is not False else 1


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from wovr_core.files import fingerprint
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.stages import train_world_model
    from wovr_core.stages.preflight import preflight

    recipe = _recipe(arguments)
    torch.set_num_threads(recipe.threads)
    config = recipe.world_model
    engine = config.transformer.engine
    if torch.cuda.is_available():
        preflight(config, engine.world).require()
    names = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in arguments.episodes]
    inputs = train_world_model.WorldModelInputs(
        tuple(str(folder) for folder in arguments.episodes), tuple(fingerprint(n) for n in names), recipe.seed
    )
    with polite_interrupts():
        outputs = train_world_model.run(config, inputs, arguments.out)
    if engine.main:
        print(f"{outputs.world_model}: version {outputs.version}")
    return 0


def _recipe(arguments: argparse.Namespace) -> Any:
    from wovr_core import recipes
    from wovr_core.config import override

    return override(recipes.get(arguments.recipe), arguments.assignments)
