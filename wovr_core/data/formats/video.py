"""Pictures out of a video file, and into one. To be used inside the sandbox when reading."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from wovr_core.data.formats.base import MAX_ARRAY_BYTES, MAX_SIDE, ForeignFileError, require
from wovr_core.errors import MissingDependencyError, UnknownNameError
from wovr_core.types import Frames

CODECS = {"h264": "libx264", "av1": "libsvtav1"}
"""Name -> ffmpeg's encoder."""


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("videos need PyAV: pip install 'wovr-workbench[data]'") from error
    av.logging.set_level(av.logging.FATAL)
    return av


def read_frames(path: Path, start: float, count: int, fps: float) -> Frames:
    """(count, H, W, 3) RGB, beginning at `start` seconds.

    Raises:
        ForeignFileError: it cannot be decoded, or has fewer pictures.
    """
    av = _av()
    frames: list[Frames] = []
    first = start - 0.5 / fps
    try:
        # A file object, not a name: ffmpeg would take some names for addresses and follow them.
        with path.open("rb") as data, av.open(data, format="mp4") as container:
            require(len(container.streams.video) > 0, path.name, "holds no video")
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            require(0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE, path.name, f"has pictures of {width}x{height}")
            require(count * width * height * 3 <= MAX_ARRAY_BYTES, path.name, f"is asked for {count} pictures")
            stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
            if first > 0 and stream.time_base:
                container.seek(int(first / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.time is None or frame.time < first:
                    continue
                require((frame.width, frame.height) == (width, height), path.name, "changes its size")
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == count:
                    break
    except (av.FFmpegError, OSError, ValueError, OverflowError, IndexError, MemoryError, TypeError) as error:
        raise ForeignFileError(f"{path.name} cannot be decoded ({str(error)[:100]})") from error
    require(len(frames) == count, path.name, f"has {len(frames)} pictures from {start:g} s on, not {count}")
    return np.stack(frames)


class VideoWriter:
    """One mp4 (4:2:0), a picture at a time; a context manager.

    Args:
        quality: constant rate factor, smaller is better and larger.
    """

    def __init__(self, path: Path, fps: int, codec: str = "h264", quality: int = 12) -> None:
        if codec not in CODECS:
            raise UnknownNameError("video codec", codec, CODECS)
        self._av = _av()
        self._container = self._av.open(str(path), "w", format="mp4")
        self._fps, self._codec, self._quality = fps, codec, quality
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._stream is not None and kind is None:
            self._mux(None)
        self._container.close()

    def add(self, picture: Frames) -> None:
        """(H, W, 3)"""
        if self._stream is None:
            self._stream = self._container.add_stream(CODECS[self._codec], rate=Fraction(self._fps))
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            # A key picture every other one: training seeks to random frames.
            self._stream.options = {"crf": str(self._quality), "g": "2"}
            self._stream.codec_context.thread_count = 1
        self._mux(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
