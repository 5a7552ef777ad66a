"""Compile the transformer's blocks for the length of a training, its own or a policy's in imagination.

Only blocks are compiled, one graph for all of them; what surrounds them stays eager. Compiling takes one to three
minutes once, then torch's cache (kept below WOVR_HOME) answers. Results differ from eager ones in the last bits, and
are the same from run to run.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from wovr_core.files import wovr_home

logger = logging.getLogger("wovr.world_model")


@contextmanager
def compiled_blocks(transformer: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Within the block the transformer's `blocks` run compiled; afterwards as before.

    Without a C++ compiler, which torch needs on CPUs, they stay eager and a line is logged.
    """
    if enabled and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        logger.info("no C++ compiler found: running without torch.compile (apt install g++ would speed it up)")
        enabled = False
    if not enabled:
        yield
        return
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(wovr_home() / "cache" / "inductor"))
    # In this process: worker processes of the compiler would outlive the training.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    blocks: Any = transformer.blocks
    for block in blocks:
        block.compile(dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None
