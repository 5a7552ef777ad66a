"""The convention doctor: from a few clips it tells what is the wrong way round, and what to say to the importer.

Days are lost to these: a gripper that opens with +1, pictures turned by 180 degrees or flipped, actions one row
late, normalised actions, tasks numbered by the alphabet, blue for red, another frame rate. It knows cameras that
look at the robot from the front, as LIBERO's `agentview` does, and says nothing where a clip shows too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wovr_core.data.doctor_actions import Bias, action_faults, gripper_votes, motion_bias
from wovr_core.data.doctor_motion import SHIFTS, Fit, Flow, fit, motion_of, watch
from wovr_core.data.formats.base import Clip, Conventions
from wovr_core.data.formats.conventions import Statistics, our_actions, plain, turn, with_our_gripper
from wovr_core.types import FPS, FloatArray, Frames, TaskId

FAULTS = ("gripper_sign", "gripper_range", "rotation", "action_shift", "normalised_actions", "task_order",
          "channel_order", "frame_rate")  # fmt: skip
"""What can be found."""
GAINS = {"libero_spatial": 1.25, "libero_object": 1.25, "libero_goal": 1.15, "libero_10": 1.65, "": 1.3}
"""As LIBERO's whole camera pictures show scripted demonstrations."""


@dataclass(frozen=True)
class DoctorConfig:
    """How sure it has to be."""

    explained: float = 0.2
    """Share of the flow's variance that actions must explain before anything is said of pictures or time."""
    clips: int = 3
    """Fewest clips that must speak."""
    majority: float = 0.75
    """Share of the clips that must agree."""
    gain: Mapping[str, float] = field(default_factory=lambda: dict(GAINS))
    """Suite -> pixels of SIDE by which the arm goes sideways or up per picture under an action of 1; "": unknown."""
    rate: float = 1.4
    """Factor by which that may differ before the frame rate is doubted; squared where the suite is unknown."""
    warmth: float = 3.0
    """Grey levels by which red must exceed blue, or blue red, on average: rooms and tables are warm."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    fault: str
    """One of FAULTS."""
    evidence: str
    advice: str
    change: dict[str, Any] = field(default_factory=dict)
    """Fields of `Conventions` to set; empty where no flag mends it."""


@dataclass(frozen=True)
class Diagnosis:
    """All that was found, and what it was found in."""

    findings: tuple[Finding, ...]
    conventions: Conventions
    """As they should be."""
    fits: tuple[Fit, ...]
    """By shift."""
    clips: int
    unclear: tuple[str, ...] = ()
    """What could not be told, and why."""


@dataclass(frozen=True)
class Sight:
    """A clip as the present conventions show it."""

    frames: Frames
    actions: FloatArray
    instruction: str
    task: int
    fps: float


def see(clip: Clip, conventions: Conventions, statistics: Statistics | None = None) -> Sight:
    """Apply conventions, all but size, frame rate and tasks."""
    actions = our_actions(clip, conventions, statistics)
    return Sight(turn(clip.frames, conventions), actions, clip.instruction, clip.task, conventions.fps or clip.fps)


def diagnose(
    clips: Sequence[Sight],
    conventions: Conventions | None = None,
    tasks: Sequence[TaskId] = (),
    config: DoctorConfig | None = None,
    flows: Sequence[Flow] | None = None,
) -> Diagnosis:
    """Look for all faults.

    Args:
        clips: some 20, seen under `conventions`.
        conventions: what findings are corrections of.
        tasks: of the suite, in LIBERO's order.
        flows: what `watch` gives of each clip, if it was called already.
    """
    config, now = config or DoctorConfig(), conventions or Conventions()
    measured = [watch(clip.frames) for clip in clips] if flows is None else flows
    motions = [motion_of(flow, clip.actions) for flow, clip in zip(measured, clips, strict=True)]
    fits = tuple(found for shift in SHIFTS if (found := fit(motions, shift)) is not None)
    findings: list[Finding] = []
    unclear: list[str] = []
    best = max(fits, key=lambda f: float(f.explained.sum()), default=None)
    if best is None or best.explained.max() < config.explained:
        unclear.append("pictures, shift and frame rate: the actions explain too little of what moves")
    else:
        findings += _rotation(best, now, config)
        findings += _shift(fits, best, now)
        findings += _rate(best, clips, tasks[0].suite if tasks else "", config)
    bias = motion_bias(best) if best is not None else Bias.none()
    normalised = action_faults([clip.actions for clip in clips], bias)
    if normalised:  # then an action of 1 is no measure any more
        findings = [finding for finding in findings if finding.fault != "frame_rate"]
        unclear.append("frame rate: only raw actions tell it")
    findings += [
        Finding("normalised_actions", evidence, "give the statistics that they were normalised with: "
                "--unnormalise dataset_statistics.json")
        for evidence in normalised
    ]  # fmt: skip
    findings += _grippers(clips, now, config, unclear)
    findings += _channels(clips, now, config, unclear)
    findings += _order(clips, tasks, now)
    for finding in findings:
        now = replace(now, **finding.change)
    return Diagnosis(tuple(findings), now, fits, len(clips), tuple(unclear))


def _rotation(best: Fit, now: Conventions, config: DoctorConfig) -> list[Finding]:
    """In our convention an action to the robot's left moves the picture's arm left, an action up moves it up."""
    sideways, upward = best.gain[0, 1], best.gain[1, 2]
    mirrored = sideways > 0 and best.explained[0] >= config.explained
    inverted = upward > 0 and best.explained[1] >= config.explained
    if not mirrored and not inverted:
        return []
    evidence = f"an action of 1 moves the arm {sideways:+.2f} px right for dy, {upward:+.2f} px down for dz"
    evidence += " (ours: both negative)"
    if mirrored and inverted:
        return [Finding("rotation", evidence, "pictures are turned by 180 degrees", {"rotate": not now.rotate})]
    if inverted:
        return [Finding("rotation", evidence, "pictures are flipped upside down", {"flip": not now.flip})]
    both = {"rotate": not now.rotate, "flip": not now.flip}
    return [Finding("rotation", evidence, "pictures are mirrored left to right (upright ones, as people see)", both)]


def _shift(fits: Sequence[Fit], best: Fit, now: Conventions) -> list[Finding]:
    if best.shift not in (-1, 1):
        return []
    listed = ", ".join(f"{f.shift:+d}: {f.explained.mean():.2f}" for f in fits)
    evidence = f"share of the motion that actions so many rows before explain ({listed}); ours: 0"
    if best.shift == -1:  # the motion comes before the action: each row led to its picture
        change = {"shift_actions": 1} if now.shift_actions == 0 else {}
        return [Finding("action_shift", evidence, "actions are one row late: row t led to picture t", change)]
    change = {"shift_actions": 0} if now.shift_actions == 1 else {}
    return [Finding("action_shift", evidence, "actions are one row early: row t was executed at picture t", change)]


def _rate(best: Fit, clips: Sequence[Sight], suite: str, config: DoctorConfig) -> list[Finding]:
    gains = [abs(best.gain[0, 1]), abs(best.gain[1, 2])]
    known = [gain for gain, share in zip(gains, best.explained, strict=True) if share >= config.explained]
    known_suite = suite in config.gain and suite != ""
    ratio = float(np.mean(known)) / config.gain[suite if known_suite else ""]
    limit = config.rate if known_suite else config.rate**2
    said = float(np.median([clip.fps for clip in clips])) or FPS
    evidence = f"an action of 1 moves the arm {ratio:.2f} times as far as between pictures 50 ms apart"
    evidence += f"; the source says {said:g} a second"
    if ratio > limit:
        advice = f"pictures are missing: about {FPS / ratio:.0f} a second; no flag brings them back"
        return [Finding("frame_rate", evidence, advice)]
    if ratio < 1 / limit:
        found = float(FPS * max(2, round(1 / ratio)))
        if abs(said - found) < 1:
            return []
        return [Finding("frame_rate", evidence, f"there are about {found:g} pictures a second", {"fps": found})]
    if abs(said - FPS) > 0.5:
        return [Finding("frame_rate", evidence, f"there are {FPS} pictures a second", {"fps": float(FPS)})]
    return []


def _grippers(clips: Sequence[Sight], now: Conventions, config: DoctorConfig, unclear: list[str]) -> list[Finding]:
    values = np.concatenate([np.zeros(0, np.float32), *(clip.actions[:, 6] for clip in clips)])
    if len(values) and values.min() >= 0 and values.max() > 0.5 and values.max() <= 1 and (values < 0.1).any():
        votes = gripper_votes([with_our_gripper(clip.actions, Conventions(gripper_01=True)) for clip in clips])
        change: dict[str, Any] = {"gripper_01": True}
        if votes and np.mean(votes) > config.majority:
            change["gripper_sign"] = -now.gripper_sign
        evidence = f"the gripper runs from {values.min():.2f} to {values.max():.2f}"
        advice = "the gripper runs from 0 to 1" + (", and 1 opens" if len(change) > 1 else "")
        return [Finding("gripper_range", evidence, advice, change)]
    votes = gripper_votes([clip.actions for clip in clips])
    if len(votes) < config.clips:
        unclear.append(f"gripper sign: only {len(votes)} clips open or close it on the way")
        return []
    share = float(np.mean(votes))
    if share <= config.majority:
        return []
    evidence = f"{sum(votes)} of {len(votes)} clips begin with +1 and change to -1 where the arm is down"
    return [Finding("gripper_sign", evidence, "+1 opens the gripper", {"gripper_sign": -now.gripper_sign})]


def _channels(clips: Sequence[Sight], now: Conventions, config: DoctorConfig, unclear: list[str]) -> list[Finding]:
    warm = [warmth(clip.frames) for clip in clips]
    middle = float(np.median(warm)) if warm else 0.0
    if abs(middle) < config.warmth:
        unclear.append(f"channel order: red and blue are alike (difference {middle:.1f} grey levels)")
        return []
    if middle > 0:
        return []
    evidence = f"blue exceeds red by {-middle:.1f} grey levels on average; wood, skin and walls are warm"
    return [Finding("channel_order", evidence, "channels are blue, green, red", {"bgr": not now.bgr})]


def warmth(frames: npt.NDArray[np.uint8]) -> float:
    """Mean of red minus blue over what is coloured at all, of the first picture, in grey levels."""
    first = frames[0].astype(np.float32)
    return float((first[..., 0] - first[..., 2]).mean())


def _order(clips: Sequence[Sight], tasks: Sequence[TaskId], now: Conventions) -> list[Finding]:
    if now.alphabetical or not tasks:
        return []
    ours = {plain(task.instruction): i for i, task in enumerate(tasks)}
    sorted_texts = sorted(task.instruction for task in tasks)
    alphabet = {plain(text): i for i, text in enumerate(sorted_texts)}
    seen = [(plain(clip.instruction), clip.task) for clip in clips if clip.task >= 0]
    telling = {(text, number) for text, number in seen if text in ours and ours[text] != alphabet[text]}
    alphabetical = sum(alphabet[text] == number for text, number in telling)
    if not telling or alphabetical < len(telling):
        return []
    example = sorted(telling)[0]
    evidence = (
        f"all {len(telling)} telling task numbers follow the alphabet: {example[0]!r} is {example[1]}, and "
        f"{ours[example[0]]} in LIBERO"
    )
    return [
        Finding(
            "task_order", evidence, "tasks are numbered by the alphabet of their instructions", {"alphabetical": True}
        )
    ]
