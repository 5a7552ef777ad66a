"""Two recordings in one scrubber, on one clock: two policies from the same start, or two imaginations of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from workbench.film_strips import as_seen
from workbench.scrubber.payload import Payload, PayloadConfig, PayloadError, from_episode, from_rollout
from wovr_core.types import Episode, Rollout

_PANES = ("real", "imagined")
"""The module's names of a left and a right pane; what stands above them is told by `titles`."""


def side_by_side(
    first: Episode | Rollout, second: Episode | Rollout, *, id: str, titles: tuple[str, str], subtitle: str = ""
) -> Payload:
    """A scrubber's payload of both, frame k of each on tick k; the shorter one ends early. It takes no annotations.

    Raises:
        PayloadError: pictures of different sizes.
    """
    parts = [_alone(one) for one in (first, second)]
    sizes = {(part.meta["width"], part.meta["height"]) for part in parts}
    if len(sizes) > 1:
        told = " and ".join(f"{w} x {h}" for w, h in sorted(sizes))
        raise PayloadError(f"these two have pictures of {told} pixels; they cannot stand side by side")
    frames = max(part.frames for part in parts)
    meta: dict[str, Any] = dict(parts[0].meta)
    panes, curves, badges, packs = [], [], [], {}
    for number, (part, key, title) in enumerate(zip(parts, _PANES, titles, strict=True), 1):
        (pane,) = part.meta["panes"]
        packs[key] = part.packs[pane["pack"]]
        panes.append({**pane, "key": key, "pack": key, "title": title})
        for curve in part.meta["curves"]:
            values = [*curve["values"], *[None] * (frames - len(curve["values"]))]
            shown = {**curve, "key": f"{key}_{curve['key']}", "title": f"{curve['title']} {number}", "values": values}
            curves.append(shown | ({"follows": key} if "follows" in curve else {}))
        badges += [{**badge, "text": f"{title}: {badge['text']}"} for badge in part.meta["badges"]]
    meta |= {
        "id": id, "title": id, "subtitle": subtitle or meta["subtitle"], "frames": frames, "panes": panes,
        "curves": curves, "badges": badges, "actions": None, "mask": None, "can_edit": False,
    }  # fmt: skip
    return replace(parts[0], meta=meta, packs=packs)


def laid_over(first: Rollout, second: Rollout, titles: tuple[str, str, str]) -> Payload:
    """The payload of `second` with `first` in the place of reality: both, frame by frame, and their difference.

    Its curves and badges are those of `second`; "divergence" is the difference, and "real_success" means nothing.

    Args:
        titles: of the panes: the first's, the second's, the difference's.

    Raises:
        DivergenceError: pictures of different sizes.
    """
    stand_in = Episode(
        first.id, first.task, 0, "imagined", as_seen(first).frames, first.actions,
        np.zeros(len(first.frames), dtype=np.bool_),
    )  # fmt: skip
    payload = from_rollout(as_seen(second), stand_in)
    named = dict(zip((*_PANES, "difference"), titles, strict=True))
    return payload.with_meta(panes=[pane | {"title": named[pane["key"]]} for pane in payload.meta["panes"]])


def _alone(one: Episode | Rollout) -> Payload:
    config = PayloadConfig(difference=False)
    return from_episode(one, config=config) if isinstance(one, Episode) else from_rollout(one, config=config)
