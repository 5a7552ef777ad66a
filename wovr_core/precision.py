"""In which number format to compute: bf16 where the processor multiplies it in hardware, float32 elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch


@lru_cache(maxsize=1)
def bf16_pays() -> bool:
    """Whether this CPU has bf16 arithmetic (AVX512-bf16 or AMX); without it autocast is slower than float32."""
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("amx_tile"))


def autocast(
    device: torch.device | str = "cpu", enabled: bool = True, weights: torch.dtype = torch.float32
) -> AbstractContextManager[object]:
    """bf16 autocast on GPUs, on CPUs where it pays, and wherever the weights are bf16 themselves; otherwise nothing."""
    kind = torch.device(device).type
    if enabled and (kind != "cpu" or bf16_pays() or weights == torch.bfloat16):
        return torch.autocast(kind, dtype=torch.bfloat16)
    return nullcontext()
