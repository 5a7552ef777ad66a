"""LPIPS, FID and FVD by their usual implementations, where these and their weights are installed; never by a stand-in.

They come with the extra `metrics` and load weights that were trained on photographs and films. Not run where this
project is tested, since those weights are not to be had there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from wovr_core.errors import MissingDependencyError, UnknownNameError
from wovr_core.types import Frames

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "lpips": ("torchvision", "lpips"),
    "fid": ("torchvision", "torchmetrics", "torch_fidelity"),
    "fvd": ("torchvision", "cdfvd"),
}
"""Metric -> modules of its implementation: richzhang's lpips, torchmetrics over torch-fidelity, cd-fvd."""
NOT_PACKAGED = {"flolpips": "its authors' code (danier97/flolpips) is on no package index"}


def missing() -> dict[str, str]:
    """Metric -> why it cannot be computed here; empty where all can."""
    reasons = dict(NOT_PACKAGED)
    for metric, modules in PACKAGES.items():
        absent = [m for m in modules if importlib.util.find_spec(m) is None]
        if absent:
            reasons[metric] = f"{', '.join(absent)} not installed: pip install 'wovr-workbench[metrics]'"
    return reasons


def compute(metric: str, real: Frames, imagined: Frames) -> float:
    """One of `PACKAGES` over clips (N, T, H, W, 3) of real and imagined frames; lower is better.

    Raises:
        UnknownNameError: no such metric.
        MissingDependencyError: its implementation is not installed.
    """
    if metric not in (*PACKAGES, *NOT_PACKAGED):
        raise UnknownNameError("metric", metric, [*PACKAGES, *NOT_PACKAGED])
    if metric in missing():
        raise MissingDependencyError(f"{metric}: {missing()[metric]}")
    return {"lpips": _lpips, "fid": _fid, "fvd": _fvd}[metric](real, imagined)


def _lpips(real: Frames, imagined: Frames) -> float:
    import lpips
    import torch

    network = lpips.LPIPS(net="alex", verbose=False)
    with torch.no_grad():
        pairs = [torch.from_numpy(f).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1 for f in (real, imagined)]
        return float(network(*pairs).mean())


def _fid(real: Frames, imagined: Frames) -> float:
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    distance = FrechetInceptionDistance(feature=2048)
    for frames, is_real in ((real, True), (imagined, False)):
        distance.update(torch.from_numpy(frames).flatten(0, 1).permute(0, 3, 1, 2), real=is_real)
    return float(distance.compute())


def _fvd(real: Frames, imagined: Frames) -> float:
    from cdfvd import fvd

    return float(fvd.cdfvd("i3d", ckpt_path=None).compute_fvd(real, imagined))
