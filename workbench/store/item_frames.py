"""An item's pictures, as strips of it want them."""

from __future__ import annotations

from workbench.store.items import REAL, Item
from wovr_core.data.episode_files import read_episode, read_rollout
from wovr_core.types import Frames


def frame_rows(item: Item) -> list[Frames]:
    """(N, H, W, 3) u8 each, as stored: the real ones, where they are known, before the imagined.

    Raises CorruptFileError.
    """
    if item.kind == REAL:
        return [read_episode(item.path).frames]
    rows = [read_rollout(item.path).frames]
    if item.replay is not None:
        rows.insert(0, read_episode(item.replay).frames)
    return rows


def scale_to(height: int, wanted: int) -> tuple[int, int]:
    """(shrink, grow): the whole factors, of which at least one is 1, that bring a height in pixels near the wanted."""
    return max(1, height // wanted), max(1, wanted // height)
