from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from workbench.scrubber import divergence
from workbench.scrubber.frame_packs import unpack
from workbench.scrubber.payload import PayloadConfig, PayloadError, from_episode, from_rollout
from workbench.scrubber.sample import BITS, block, numbered_rollout
from wovr_core.types import Episode, Rollout

LOSSLESS = PayloadConfig(codec="webp-lossless")


def read_number(picture: npt.NDArray[np.uint8], row: int) -> int:
    """The number in row 0 (real, imagined) or row 1 (imagined, difference) of a picture (H, W, 3)."""
    side = block(picture.shape[1])
    middle = picture.shape[0] - side * row - side // 2 - 1
    levels = [int(picture[middle, i * side + side // 2].max()) for i in range(BITS)]
    return sum(1 << i for i, level in enumerate(levels) if level > 127)


def test_the_numbers_in_the_sample_survive_packing() -> None:
    rollout, real = numbered_rollout(3, 64)
    payload = from_rollout(rollout, real)
    pictures = {name: unpack(packed) for name, packed in payload.packs.items()}
    for k in range(payload.frames):
        assert read_number(pictures["real"][k], 0) == k
        assert read_number(pictures["imagined"][k], 0) == k
        assert read_number(pictures["difference"][k], 1) == k


def test_a_rollout_beside_its_replay(
    make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]
) -> None:
    rollout, real = make_rollout(chunks=4, success_at=9), make_episode(length=20)
    payload = from_rollout(rollout, real, config=LOSSLESS)
    meta = payload.meta
    assert [pane["key"] for pane in meta["panes"]] == ["real", "imagined", "difference"]
    assert [len(pane["offsets"]) - 1 for pane in meta["panes"]] == [21, 33, 21]
    assert (meta["frames"], meta["chunk"], len(meta["mask"]), len(meta["actions"]["values"])) == (33, 8, 32, 32)
    curves = {curve["key"]: curve for curve in meta["curves"]}
    expected = [np.abs(real.frames[k].astype(int) - rollout.frames[k].astype(int)).mean() for k in range(21)]
    np.testing.assert_allclose(curves["divergence"]["values"][:21], expected, atol=1e-3)
    assert curves["divergence"]["values"][21:] == [None] * 12
    assert curves["p_success"]["threshold"] == 0.5
    assert [sum(meta["mask"]), curves["real_success"]["values"][20:22]] == [9, [False, None]]
    assert [badge["text"] for badge in meta["badges"]] == ["imagined success", "really failed", "false success"]
    np.testing.assert_array_equal(unpack(payload.packs["imagined"]), rollout.frames)
    json.dumps(meta, allow_nan=False)


def test_divergence_is_measured_before_packing(
    make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]
) -> None:
    rollout, real = make_rollout(), make_episode(length=32)
    rough = from_rollout(rollout, real, config=PayloadConfig(codec="jpeg", quality=1))
    exact = from_rollout(rollout, real, config=LOSSLESS)
    assert rough.meta["curves"] == exact.meta["curves"]


def test_real_start_aligns_a_replay(make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]) -> None:
    rollout, real = make_rollout(chunks=2), make_episode(length=40, success_at=12)
    payload = from_rollout(rollout, real, real_start=10, config=LOSSLESS)
    np.testing.assert_array_equal(unpack(payload.packs["real"]), real.frames[10:27])
    flag = next(curve for curve in payload.meta["curves"] if curve["key"] == "real_success")
    assert flag["values"].index(True) == 2
    with pytest.raises(PayloadError, match="outside of e0"):
        from_rollout(rollout, real, real_start=41)


def test_what_is_missing_is_absent(make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]) -> None:
    alone = from_rollout(make_rollout()).meta
    assert [pane["key"] for pane in alone["panes"]] == ["imagined"]
    assert [curve["key"] for curve in alone["curves"]] == ["p_success"]
    executed = from_episode(make_episode(success_at=30)).meta
    assert [pane["key"] for pane in executed["panes"]] == ["real"]
    assert executed["mask"] is None
    assert executed["badges"] == [{"text": "succeeded", "tone": "good"}]
    plain = from_rollout(make_rollout(), make_episode(length=32), config=PayloadConfig(difference=False))
    assert "difference" not in plain.packs


def test_nan_becomes_null_and_sizes_must_agree(
    make_rollout: Callable[..., Rollout], make_episode: Callable[..., Episode]
) -> None:
    rollout = make_rollout()
    rollout.p_success[3] = np.nan
    values = from_rollout(rollout).meta["curves"][0]["values"]
    assert values[3] is None
    with pytest.raises(divergence.DivergenceError, match="resize one"):
        from_rollout(rollout, make_episode(length=32, size=16))


def test_meta_entries_are_known_ones(make_episode: Callable[..., Episode]) -> None:
    payload = from_episode(make_episode())
    assert payload.with_meta(item=2, items=5).meta["item"] == 2
    with pytest.raises(PayloadError, match="no such entry of meta: itms"):
        payload.with_meta(itms=5)
    assert dataclasses.is_dataclass(payload)
