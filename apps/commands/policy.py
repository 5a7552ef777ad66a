"""`wovr policy`: policies that others have published, as checkpoints of ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from apps.parsing import add_assignments

DTYPES = ("float32", "bfloat16")


def add_commands(commands: Any, common: Any) -> None:
    """Add `policy` to the parsers."""
    parser = commands.add_parser("policy", help="a published OpenVLA-OFT policy as a checkpoint of ours")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser(
        "import-openvla-oft",
        parents=[common],
        help="a published OpenVLA-OFT folder (safetensors shards) as a checkpoint",
        description="Reads the shards by their tensors' names into transformers' own parts; no code of the folder is "
        "run. The checkpoint can be evaluated and compared like any other: wovr robot plan NAME --policy a=CHECKPOINT.",
    )
    one.add_argument(
        "folder", type=Path, metavar="FOLDER", help="with its shards, dataset_statistics.json and tokenizer.json"
    )
    one.add_argument("--out", type=Path, required=True, metavar="CHECKPOINT", help="folder to write")
    one.add_argument("--unnorm-key", default="", metavar="DATASET", help="whose action ranges, e.g. libero_object; "
                     "not needed where there is one")  # fmt: skip
    one.add_argument("--dtype", default="", metavar="DTYPE", help="float32 or bfloat16 (default: as it is stored)")
    add_assignments(one, "for a model of another size, for example layers=2")
    one.set_defaults(function=_import)


def _import(arguments: argparse.Namespace) -> int:
    import torch

    from wovr_core.config import override
    from wovr_core.errors import UnknownNameError, WovrError
    from wovr_core.model_files import POLICY, save_model
    from wovr_core.policy.openvla_oft.policy import OpenVLAOFTConfig
    from wovr_core.policy.openvla_oft.published import load_published

    if arguments.dtype and arguments.dtype not in DTYPES:
        raise UnknownNameError("dtype", arguments.dtype, DTYPES)
    if not arguments.folder.is_dir():
        raise WovrError(f"there is no folder {arguments.folder}")
    config = override(OpenVLAOFTConfig(), arguments.assignments)
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    policy = load_published(arguments.folder, config, arguments.unnorm_key, dtype)
    version = save_model(arguments.out, POLICY, policy, lineage={"openvla_oft": arguments.folder.name})
    count = sum(parameter.numel() for parameter in policy.parameters())
    print(f"{arguments.out}: {count / 1e6:,.1f} M parameters, version {version}")
    return 0
