"""In which number format to compute: bf16 where the processor multiplies it in hardware, float32 elsewhere."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch


@lru_cache(maxsize=1)
def bf16_pays() -> bool:
    """Whether this CPU has bf16 arithmetic (AVX512-bf16 or AMX); without it autocast is slower than float32."""
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("amx_tile"))


def autocast(device: torch.device | str = "cpu", enabled: bool = True) -> AbstractContextManager[object]:
    """bf16 autocast on GPUs and on CPUs where it pays; otherwise nothing."""
    kind = torch.device(device).type
    if enabled and (kind != "cpu" or bf16_pays()):
        return torch.autocast(kind, dtype=torch.bfloat16)
    return nullcontext()


def compile_blocks(model: torch.nn.Module) -> bool:
    """Compile the repeated blocks of a diffusers model; warns and leaves it as it is where no C++ compiler is found.

    Returns:
        whether the blocks are compiled.
    """
    from torch._inductor import exc
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError, OSError) as error:
        warnings.warn(f"torch.compile is left out: no C++ compiler ({error!s:.80})", stacklevel=2)
        return False
    model.compile_repeated_blocks()  # type: ignore[operator]
    return True
