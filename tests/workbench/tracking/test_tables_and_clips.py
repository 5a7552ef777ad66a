"""What goes along with the numbers."""

import io

import numpy as np
from PIL import Image

from workbench.film_strips import upright
from workbench.store.items import VERDICTS, verdict_of
from workbench.tracking.clips import clips_of, gif_bytes
from workbench.tracking.stages import stages_of
from workbench.tracking.tables import tables_of
from wovr_core.data.episode_files import read_episode, read_rollout


def stage(run, name):
    return next(s for s in stages_of(run) if s.name == name)


def played(gif: bytes) -> tuple[np.ndarray, int]:
    image = Image.open(io.BytesIO(gif))
    frames = []
    for i in range(image.n_frames):
        image.seek(i)
        frames.append(np.asarray(image.convert("RGB")))
    return np.stack(frames), image.info["duration"]


def test_a_gif_plays_the_frames_at_their_speed():
    ramp = np.arange(16, dtype=np.uint8) * 16
    frames = np.zeros((6, 16, 16, 3), np.uint8)
    frames[..., 0], frames[..., 1] = ramp[:, None], ramp
    for i in range(6):
        frames[i, i * 2 : i * 2 + 2, :4] = (0, 0, 255)  # something moves
    shown, duration = played(gif_bytes(frames, scale=3))
    assert shown.shape == (6, 48, 48, 3)
    assert duration == 50  # ms: 20 Hz
    assert np.abs(shown[:, ::3, ::3].astype(int) - frames).mean() < 4
    assert (shown[5, 30:36, :12, 2] > 200).all()


def test_clips_are_upright_and_spread_over_the_files(tracked_run):
    clips = clips_of(stage(tracked_run, "imagine"), 2)
    assert [c.name for c in clips] == ["r-failed", "r-true"]  # the first and the last of three
    rollout = read_rollout(tracked_run / "imagine" / "rollouts" / "r-true.safetensors")
    np.testing.assert_array_equal(clips[1].frames, upright(rollout.frames))
    assert "imagined success, highest p_success 0.90" in clips[1].caption
    assert clips_of(stage(tracked_run, "imagine"), 0) == []
    assert clips_of(stage(tracked_run, "sft"), 2) == []


def test_an_audit_shows_imagined_beside_real_and_the_false_first(tracked_run):
    first = clips_of(stage(tracked_run, "audit"), 1)[0]
    assert first.caption == "r-false: false success; imagined left, real right"
    rollout = read_rollout(tracked_run / "imagine" / "rollouts" / "r-false.safetensors")
    real = read_episode(tracked_run / "audit" / "episodes" / "r-false.safetensors")
    np.testing.assert_array_equal(first.frames[:, :, :16], upright(rollout.frames))
    np.testing.assert_array_equal(first.frames[:, :, 16:], upright(real.frames))


def test_tables_have_a_row_per_trial_and_per_audited_rollout(tracked_run):
    (trials,) = tables_of(stage(tracked_run, "evaluate"))
    assert trials.rows == (("p1", 0, 0, True), ("p1", 0, 1, False))
    (audit,) = tables_of(stage(tracked_run, "audit"))
    assert [(row[0], row[5], row[6]) for row in audit.rows] == [
        ("r-false", "false_success", 2.5),
        ("r-true", "true_success", 2.5),
        ("r-failed", "true_failure", 2.5),
    ]
    assert trials.markdown().splitlines()[2] == "| p1 | 0 | 0 | True |"
    assert tables_of(stage(tracked_run, "sft")) == []


def test_verdicts_are_named_as_in_the_catalogue():
    assert {verdict_of(i, r) for i in (True, False) for r in (True, False)} == VERDICTS.keys() - {"not_audited"}


def test_outputs_are_found_after_the_run_was_moved(tracked_run):
    moved = tracked_run.rename(tracked_run.with_name("elsewhere"))
    assert len(clips_of(stage(moved, "audit"), 3)) == 3
    assert len(tables_of(stage(moved, "audit"))) == 1
