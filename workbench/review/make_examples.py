"""Cuts the guideline's examples out of rollouts: a strip of frames, the span marked, and what the audit measured."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.film_strips import GAP, film_strip
from workbench.review.shipped_examples import MAX_BYTES, ShippedExample
from workbench.run_data import RunData
from wovr_core.errors import WovrError
from wovr_core.types import Frames

SHOWN = 8
"""Frames of a strip."""
_HEAD = 15
"""Pixels above the frames, for their numbers and the bar that marks the span."""
_BAR = (213, 94, 0)
_QUALITIES = (82, 74, 66, 58, 50, 42, 34)


def cut(run: Path, wanted: ShippedExample, height: int = 112) -> tuple[ShippedExample, bytes]:
    """The example with what was measured filled in, and its strip as WebP.

    Args:
        run: the folder of the run that `wanted.run` names; its audit's replays stand above the imagined frames.
        height: of one frame in pixels, about.

    Raises:
        WovrError: a span outside of the rollout, or a strip that stays too large.
        CorruptFileError: a rollout or replay that cannot be read.
    """
    data = RunData(run)
    rollout, replay = data.rollout(wanted.rollout), data.replay(wanted.rollout)
    n = min(len(rollout.frames), len(replay.frames))
    if not 0 <= wanted.first <= wanted.last < n:
        raise WovrError(
            f"{wanted.label}: {wanted.rollout} has frames 0 to {n - 1}, not {wanted.first} to {wanted.last}"
        )
    chosen = shown_frames(wanted.first, wanted.last, n)
    scale = max(1, round(height / rollout.frames.shape[1]))
    rows = [replay.frames[list(chosen)], rollout.frames[list(chosen)]]
    strip = film_strip(rows, len(chosen), scale)
    marked = _marked(strip, chosen, wanted, rollout.frames.shape[2] * scale)
    row = next((row for row in data.audit_rows() if row["rollout_id"] == wanted.rollout), None)
    if row is None:
        raise WovrError(f"{run.name} has not audited {wanted.rollout}")
    gap = [float(value) for value in row["divergence"][wanted.first : wanted.last + 1]]
    evidence: dict[str, Any] = {
        "imagined_success": bool(row["imagined_success"]),
        "real_success": bool(row["real_success"]),
        "greatest_difference_in_span": round(max(gap), 2),
        "p_success_in_span": round(float(rollout.p_success[wanted.first : wanted.last + 1].max()), 3),
        "success_threshold": rollout.info.get("success_threshold", ""),
        "task": str(rollout.task),
        "versions": dict(rollout.versions),
    }
    return replace(wanted, evidence=evidence, real=True, shown=chosen), _webp(marked, wanted.label)


def shown_frames(first: int, last: int, frames: int, count: int = SHOWN) -> tuple[int, ...]:
    """Frames of a strip: one before the span and one after where there are, and the span evenly between them."""
    around = [max(first - 1, 0), min(last + 1, frames - 1)]
    inside = np.linspace(first, last, min(count - 2, last - first + 1)).round().astype(int)
    return tuple(sorted({*around, *(int(k) for k in inside)}))


def _marked(strip: Frames, chosen: tuple[int, ...], wanted: ShippedExample, width: int) -> Frames:
    """The strip below a line of frame numbers, with a bar over the frames of the span."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (strip.shape[1], strip.shape[0] + _HEAD), "white")
    picture.paste(Image.fromarray(strip), (0, _HEAD))
    draw = ImageDraw.Draw(picture)
    for c, k in enumerate(chosen):
        x, inside = c * (width + GAP), wanted.first <= k <= wanted.last
        draw.text((x + 3, 0), str(k), fill=_BAR if inside else (90, 90, 90))
        if inside:
            draw.rectangle((x, _HEAD - 3, x + width + (GAP if k < wanted.last else 0) - 1, _HEAD - 1), fill=_BAR)
    return np.asarray(picture)


def _webp(picture: Frames, label: str) -> bytes:
    from PIL import Image

    for quality in _QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="WEBP", quality=quality, method=6)
        if buffer.tell() <= MAX_BYTES:
            return buffer.getvalue()
    raise WovrError(f"the strip of {label} has more than {MAX_BYTES} bytes at any quality; choose fewer frames")
