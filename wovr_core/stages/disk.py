"""How much a stage will write: said before it starts, and watched while it goes on."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from wovr_core.data.array_codecs import Codec
from wovr_core.envs.libero import LiberoConfig
from wovr_core.errors import WovrError
from wovr_core.wording import counted

logger = logging.getLogger("wovr.disk")

_STATE_BYTES = 8 * 416
_OTHER_BYTES = 400
# Measured on LIBERO's scenes from 64 to 256 px, and rounded up: stored bytes per raw byte.
_FRAMES = {"auto": 0.2, "delta": 0.2, "webp": 0.5, "raw": 1.0}
_STREAM_BYTES = {"wrist": 3 * 0.4, "depth": 4 * 0.17, "segmentation": 0.07}
_RAW_STREAM_BYTES = {"wrist": 3, "depth": 4, "segmentation": 1}


def episode_bytes(env: LiberoConfig, steps: int, codec: Codec) -> int:
    """About what an episode of so many steps takes on disk."""
    pixels, raw = env.size**2, codec == "raw"
    streams = _RAW_STREAM_BYTES if raw else _STREAM_BYTES
    pictures = 3 * _FRAMES[codec] + sum(streams[name] for name in env.streams)
    return int((steps + 1) * (pixels * pictures + _STATE_BYTES * (1 if raw else 0.4) + _OTHER_BYTES))


def size_text(size: float) -> str:
    """Bytes as people read them: 940 bytes, 14 kB, 0.57 MB, 31 MB, 57.3 GB."""
    if size < 1e3:
        return f"{size:.0f} bytes"
    if size < 1e5:
        return f"{size / 1e3:.0f} kB"
    if size < 1e9:
        return f"{size / 1e6:.2g} MB" if size < 1e7 else f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB"


class DiskBudget:
    """Room for so many more episodes under `path`.

    Args:
        episodes: files that are to be written.
        guess: bytes of one, for as long as none has been written.

    Raises:
        WovrError: the disk has not so much room; nothing was written yet.
    """

    def __init__(self, path: Path, episodes: int, guess: int) -> None:
        self._path = path
        self._left = episodes
        self._written = self._bytes = 0
        if episodes:
            need, each, free = size_text(episodes * guess), size_text(guess), size_text(self._free())
            logger.info("%s to write: about %s (%s each), %s free", counted(episodes, "episode"), need, each, free)
            self._check(guess)

    def wrote(self, size: int) -> None:
        """One more file is there. Raises WovrError when the rest, of the mean size so far, will not fit."""
        self._left -= 1
        self._written += 1
        self._bytes += size
        mean = self._bytes / self._written
        if self._written == 1 and self._left:
            rest = size_text(self._left * mean)
            logger.info("the first of these episodes took %s; the rest about %s", size_text(mean), rest)
        self._check(mean)

    def _check(self, each: float) -> None:
        need, free = self._left * each, self._free()
        if need > free:
            needs = f"{counted(self._left, 'episode')} {'needs' if self._left == 1 else 'need'}"
            raise WovrError(
                f"{needs} about {size_text(need)}, {self._path} has {size_text(free)} free: make room, choose another "
                "place with WOVR_HOME or --run, or collect fewer; what is written stays, and the same command "
                "goes on from there"
            )

    def _free(self) -> int:
        return shutil.disk_usage(self._path).free
