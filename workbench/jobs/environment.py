"""The environment that a job is started with: an allow-list, so that what else a shell holds stays there."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

JOB_ID = "WOVR_JOB_ID"
"""Set for a job's processes, inherited by all that they start: by it they are found again."""
JOB_ATTEMPT = "WOVR_JOB_ATTEMPT"
SUPERVISES = "WOVR_SUPERVISES"
"""Set for a supervisor, whose processes belong to no other job even where one submitted it."""

ALLOWED = (
    # who and where
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_*", "TZ", "TMPDIR", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH"),
    # ours and the method's
    *(
        "WOVR_*",
        "MUJOCO_*",
        "PYOPENGL_PLATFORM",
        "LIBERO_*",
        "MESA_*",
        "LIBGL_*",
        "GALLIUM_*",
        "EGL_*",
        "LP_NUM_THREADS",
    ),
    # threads, accelerators, distributed training
    *("OMP_*", "MKL_*", "OPENBLAS_*", "NUMBA_*", "CUDA_*", "NVIDIA_*", "NCCL_*", "GLOO_*", "TORCH_*", "PYTORCH_*"),
    *("ACCELERATE_*", "RAY_*", "MASTER_ADDR", "MASTER_PORT"),
    # model hub and tracker
    *("HF_*", "TRANSFORMERS_*", "TOKENIZERS_*", "WANDB_*"),
    # the way out, where there is only one
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ),
)
_OURS = frozenset({JOB_ID, JOB_ATTEMPT, SUPERVISES})


def filtered(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a job may see. Those that say which job this is are not passed on to another."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OURS and any(fnmatch.fnmatchcase(name, pattern) for pattern in ALLOWED)
    }
