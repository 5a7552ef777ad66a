"""A trial as a film (mp4, H.264), for the second label and for whoever doubts the first."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np

from wovr_core.errors import MissingDependencyError
from wovr_core.files import sha256_file, write_bytes
from wovr_core.types import Frames

MIN_SIDE = 256
"""Smaller pictures are enlarged by a whole factor: players blur what they enlarge."""


def write_video(path: Path, frames: Frames, fps: float) -> str:
    """Write frames (T, H, W, 3), upright, durably; returns the file's sha256.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("trial videos need PyAV: pip install av") from error
    scale = max(1, -(-MIN_SIDE // min(frames.shape[1:3])))
    height, width = (side * scale // 2 * 2 for side in frames.shape[1:3])  # H.264 wants even sides
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread: the same frames give the same bytes, whatever the machine.
        stream.options = {"crf": "20", "preset": "veryfast", "threads": "1"}
        for frame in frames:
            large = frame.repeat(scale, 0).repeat(scale, 1)[:height, :width]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(large), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    write_bytes(path, buffer.getvalue())
    return sha256_file(path)
