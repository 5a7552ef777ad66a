"""The contract between Python and the ES module, and how a rollout becomes what the module is handed.

The module reads four values of its model (anywidget traits; in Gradio, keys of the component's `value`):

`meta`, a JSON object, replaced as a whole when another rollout is opened:
    id, title, subtitle    texts; id is what deep links and messages carry
    frames                 N, the number of clock ticks; frame k of every pane belongs to tick k
    width, height, fps     of all panes
    chunk                  C; a chunk decided at frame c*C makes the frames c*C+1 .. (c+1)*C
    panes                  [{key: "real" | "imagined" | "difference", title, pack, mime, offsets (n+1,),
                           and for a heat map: ramp [[r, g, b]], scale, unit}]; n may be below N (it ended early)
    curves                 [{key, title, values (N,) number | null, range [lo, hi], threshold, digits, colour}],
                           or with kind "flag": values true | false | null, and follows "real" when the trim moves it
    actions                {groups: [{title, columns}], values (N-1, 7)} or null; row t made frame t+1
    mask                   (N-1,) booleans or null: whether action t counts in the policy's loss
    labels                 [{key, title, guide}]; keys 1-9 and 0 choose the first ten
    badges                 [{text, tone: "good" | "bad" | "warn" | ""}]
    item, items            place in a queue, or both null
    frame                  where to start, or null
    can_edit, can_branch   what is offered
    owns_address, link     whether the page's address may be kept in step; base address of copied links, or null
`packs`, pack name -> bytes (anywidget) or the URL of a static route (Gradio): encoded images one behind another.
`spans`, [{id, start, end (inclusive), label, severity, note, author, time, version}], Python's word.
`theme`, "light", "dark", or anything else to follow the page.

The module sends (anywidget: custom messages; Gradio: the server function for edits, events for the rest):
    {kind: "edit", event, rollout, op: "put", version, span: {id, start, end, label, severity, note}}
    {kind: "edit", event, rollout, op: "delete", version, id}
    {kind: "edit", event, rollout, op: "undo", version, target: the event that is undone; an undo's, to redo}
    {kind: "navigate", rollout, step: +1 | -1}     {kind: "branch", rollout, frame}
    {kind: "open", rollout}                        a deep link asks for a rollout that is not the open one
and understands
    {kind: "ack", event, rollout, ok, error, retry, version, spans}     the answer to one edit (see desk.py)
    {kind: "seek", frame}                          {kind: "say", text, bad}
The playhead is never sent. Edits go one at a time, in order; `version` is the span's count of edits with this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.scrubber import divergence
from workbench.scrubber.frame_packs import Codec, FramePack, pack
from workbench.scrubber.spans import LABELS
from wovr_core.errors import WovrError
from wovr_core.types import FPS, Episode, Frames, Rollout

ACTION_GROUPS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("move x y z", (0, 1, 2)),
    ("turn x y z", (3, 4, 5)),
    ("gripper", (6,)),
)
_RAMP_STEPS = 9


class PayloadError(WovrError):
    """A rollout and an episode that do not belong in one scrubber."""


@dataclass(frozen=True)
class PayloadConfig:
    """How frames are packed and what is drawn."""

    codec: Codec = "auto"
    quality: int | None = None
    """None: the codec's own default."""
    difference: bool = True
    """Whether to add the heat map where real and imagined frames are both there."""
    heat: divergence.HeatScale = field(default_factory=divergence.HeatScale)
    fps: float = FPS


@dataclass(frozen=True)
class Payload:
    """What the module is handed for one rollout, but for the spans."""

    meta: dict[str, Any]
    packs: dict[str, FramePack]

    @property
    def id(self) -> str:
        """The rollout's id."""
        return str(self.meta["id"])

    @property
    def frames(self) -> int:
        """N."""
        return int(self.meta["frames"])

    def with_meta(self, **changes: Any) -> Payload:
        """The same with other entries of `meta` (item, items, can_edit, link, badges, ...)."""
        unknown = set(changes) - set(self.meta)
        if unknown:
            raise PayloadError(f"there is no such entry of meta: {', '.join(sorted(unknown))}")
        return replace(self, meta=self.meta | changes)

    def pack_bytes(self) -> dict[str, bytes]:
        """`packs` for anywidget."""
        return {name: packed.data for name, packed in self.packs.items()}


def from_rollout(
    rollout: Rollout,
    real: Episode | None = None,
    *,
    real_start: int = 0,
    success_threshold: float | None = None,
    config: PayloadConfig | None = None,
) -> Payload:
    """An imagined rollout, and what really happened under its actions where that is known.

    Args:
        real: the audit's replay; its frame `real_start` belongs to the rollout's frame 0. It may be shorter.
        success_threshold: of the reward classifier, drawn across p_success; by default what the rollout says.

    Raises:
        PayloadError: real_start outside of the episode.
        divergence.DivergenceError: pictures of different sizes.
    """
    config = config or PayloadConfig()
    n = len(rollout.frames)
    if success_threshold is None and "success_threshold" in rollout.info:
        success_threshold = float(rollout.info["success_threshold"])
    panes: dict[str, Frames] = {"imagined": rollout.frames}
    curves: list[dict[str, Any]] = []
    badges = [_badge("imagined success" if rollout.imagined_success else "no imagined success")]
    if real is not None:
        if not 0 <= real_start < len(real.frames):
            raise PayloadError(f"real_start {real_start} is outside of {real.id}, which has {len(real.frames)} frames")
        frames, success = real.frames[real_start : real_start + n], real.success[real_start : real_start + n]
        panes = {"real": frames, **panes}
        gap = divergence.per_frame(frames, rollout.frames)
        curves.append(_curve("divergence", "divergence", gap, n, top=max(8.0, float(gap.max(initial=0))), digits=1))
        if config.difference:
            panes["difference"] = divergence.heat_map(frames, rollout.frames, config.heat)
        badges.extend(_verdict(rollout.imagined_success, bool(success.any())))
    curves.append(
        _curve("p_success", "p success", rollout.p_success, n, top=1.0, threshold=success_threshold, colour="p")
    )
    if real is not None:
        curves.append(_flag("real_success", "real success", success, n, follows="real"))
    meta = _meta(rollout.id, str(rollout.task), rollout.task.instruction, n, config, panes)
    meta |= {
        "chunk": int(rollout.loss_mask.shape[1]),
        "curves": curves,
        "actions": _actions(rollout.actions),
        "mask": [bool(on) for on in rollout.loss_mask.reshape(-1)],
        "badges": badges,
    }
    return _packed(meta, panes, config)


def from_episode(episode: Episode, *, chunk: int = 1, config: PayloadConfig | None = None) -> Payload:
    """An executed episode alone: the real pane, its success and its actions. `chunk` is for Shift+arrows."""
    config = config or PayloadConfig()
    panes: dict[str, Frames] = {"real": episode.frames}
    n = len(episode.frames)
    meta = _meta(episode.id, str(episode.task), episode.task.instruction, n, config, panes)
    meta |= {
        "chunk": chunk,
        "curves": [_flag("real_success", "real success", episode.success, n, follows="real")],
        "actions": _actions(episode.actions),
        "badges": [_badge("succeeded", "good") if episode.succeeded else _badge("failed", "warn")],
    }
    return _packed(meta, panes, config)


def _meta(
    rollout_id: str, task: str, instruction: str, n: int, config: PayloadConfig, panes: dict[str, Frames]
) -> dict[str, Any]:
    height, width = next(iter(panes.values())).shape[1:3]
    return {
        "id": rollout_id, "title": rollout_id, "subtitle": f"{task} · {instruction}", "frames": n,
        "width": int(width), "height": int(height), "fps": float(config.fps), "chunk": 1, "panes": [], "curves": [],
        "actions": None, "mask": None, "badges": [], "item": None, "items": None, "frame": None,
        "labels": [{"key": label.key, "title": label.title, "guide": label.guide} for label in LABELS],
        "can_edit": True, "can_branch": False, "owns_address": False, "link": None,
    }  # fmt: skip


def _packed(meta: dict[str, Any], panes: dict[str, Frames], config: PayloadConfig) -> Payload:
    packs = {key: pack(frames, config.codec, config.quality) for key, frames in panes.items()}
    described = []
    for key, packed in packs.items():
        pane: dict[str, Any] = {
            "key": key, "title": {"difference": "|difference|"}.get(key, key), "pack": key,
            "mime": packed.mime, "offsets": list(packed.offsets),
        }  # fmt: skip
        if key == "difference":
            pane |= {"ramp": divergence.ramp(_RAMP_STEPS).tolist(), "scale": config.heat.maximum, "unit": "of 255"}
        described.append(pane)
    return Payload(meta | {"panes": described}, packs)


def _curve(
    key: str,
    title: str,
    values: npt.NDArray[np.floating[Any]],
    n: int,
    *,
    top: float,
    digits: int = 2,
    threshold: float | None = None,
    colour: str | None = None,
) -> dict[str, Any]:
    return {
        "key": key, "kind": "line", "title": title, "values": _padded([_number(v) for v in values], n),
        "range": [0.0, top], "threshold": threshold, "digits": digits, "colour": colour or key,
    }  # fmt: skip


def _flag(key: str, title: str, values: npt.NDArray[np.bool_], n: int, *, follows: str) -> dict[str, Any]:
    return {
        "key": key, "kind": "flag", "title": title, "values": _padded([bool(v) for v in values], n),
        "follows": follows, "colour": "success",
    }  # fmt: skip


def _actions(actions: npt.NDArray[np.float32]) -> dict[str, Any]:
    groups = [{"title": title, "columns": list(columns)} for title, columns in ACTION_GROUPS]
    return {"groups": groups, "values": [[_number(v) for v in row] for row in actions]}


def _verdict(imagined: bool, real: bool) -> list[dict[str, str]]:
    outcome = _badge("really succeeded", "good") if real else _badge("really failed", "warn")
    if imagined and not real:
        return [outcome, _badge("false success", "bad")]
    return [outcome, _badge("missed success", "bad")] if real and not imagined else [outcome]


def _badge(text: str, tone: str = "") -> dict[str, str]:
    return {"text": text, "tone": tone}


def _number(value: float | np.floating[Any]) -> float | None:
    """JSON has no NaN; four digits are more than a pixel of any curve."""
    return round(float(value), 4) if np.isfinite(value) else None


def _padded(values: Sequence[Any], n: int) -> list[Any]:
    return [*values[:n], *[None] * (n - len(values))]
