"""`wovr export rlinf`: what RLinf's Wan environment needs of a run: starts, models where they fit, a config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.formats.conventions import resize
from wovr_core.data.formats.rlinf_dataset import RLinfStart, check_enough, plain_start, write_start
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.errors import WovrError
from wovr_core.files import write_bytes, write_json
from wovr_core.types import CHUNK, CONTEXT_FRAMES

_KEYFRAMES = ("keyframes_evolved", "keyframes")
"""Stages of a run, the best first."""


@dataclass
class RLinfExport:
    """What was written."""

    plain: int = 0
    keyframes: int = 0
    notes: list[str] = field(default_factory=list)


def write(run: Path, episodes: Path, out: Path, environments: int, size: int) -> RLinfExport:
    """Write `out/dataset`, and `out/wan_libero.yaml`, the environment's part of RLinf's configuration.

    Args:
        episodes: whose first frames become plain starts; each keyframe of the run becomes a file of five frames.
        size: H = W of the pictures; RLinf's Wan models want 256.
    Raises:
        WovrError: fewer starts than parallel environments; `out` holds something else.
    """
    record = out / "wovr_export.json"
    if out.exists() and any(out.iterdir()) and not record.exists():
        raise WovrError(f"{out} is not empty: choose another --out")
    paths = EpisodeSet(episodes)
    keyframes = next((p for p in (run / stage / "keyframes.safetensors" for stage in _KEYFRAMES) if p.is_file()), None)
    starts = read_keyframes(keyframes) if keyframes else []
    check_enough(len(paths) + len(starts), environments)
    write_json(record, {"run": run.name, "environments": environments, "size": size})
    dataset, done = out / "dataset", RLinfExport()

    def all_starts() -> Iterator[RLinfStart]:
        for episode in paths:
            yield plain_start(resize(episode.frames[:1], size)[0], episode.task.instruction)
        for start in starts:
            yield RLinfStart(start.task.instruction, resize(start.context_frames, size), start.context_actions)

    for index, start in enumerate(all_starts()):
        write_start(dataset, index, start)
        done.keyframes += start.keyframe
        done.plain += not start.keyframe
    first = next(iter(paths))
    _write_config(out, first.task.suite, environments, size, bool(starts))
    if first.frames.shape[1] != size:
        done.notes.append(f"pictures were scaled from {first.frames.shape[1]} to {size} pixels: collect at {size} px "
                          "(--set env.size) for sharp ones")  # fmt: skip
    if not starts:
        done.notes.append("the run has no keyframes: only first frames were written; `wovr run keyframes` makes some")
    done.notes += _write_models(run, out)
    return done


def _write_config(out: Path, suite: str, environments: int, size: int, keyframes: bool) -> None:
    """The environment's group of an RLinf configuration; `env.train.wan_wm_hf_ckpt_path` is the exported folder."""
    root = "${env.train.wan_wm_hf_ckpt_path}"
    values = {
        "env_type": "wan_wm",
        "wm_env_type": "libero",
        "task_suite_name": suite,
        "total_num_envs": environments,
        "auto_reset": False,
        "ignore_terminations": False,
        "max_episode_steps": 240,
        "max_steps_per_rollout_epoch": 240,
        "use_rel_reward": True,
        "reward_coef": 1.0,
        "reset_gripper_open": True,
        "is_eval": False,
        "seed": 0,
        "group_size": 1,
        "use_fixed_reset_state_ids": True,
        "use_ordered_reset_state_ids": False,
        "specific_reset_id": None,
        "video_cfg": {
            "save_video": True, "info_on_video": True, "video_base_dir": "${runner.logger.log_path}/video/train",
        },
        "enable_offload": False,
        "wan_wm_hf_ckpt_path": str(out),
        "wan_tokenizer_path": None,
        "VAE_path": f"{root}/Wan2.2_VAE.pth",
        "model_path": f"{root}/model-00001.safetensors",
        "enable_kir": keyframes,
        "initial_image_path": f"{root}/dataset/",
        "chunk": CHUNK,
        "condition_frame_length": CONTEXT_FRAMES,
        "image_size": [size, size],
        "num_frames": CONTEXT_FRAMES + CHUNK,
        "reward_model": {"type": "ResnetRewModel", "from_pretrained": f"{root}/resnet_rm.pth"},
    }  # fmt: skip
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    write_bytes(out / "wan_libero.yaml", ("\n".join(lines) + "\n").encode())


def _write_models(run: Path, out: Path) -> list[str]:
    """Nothing but notes where the run's models are of another kind than RLinf's."""
    return ["models: none of the run's is of RLinf's kind (Wan2.2-5B, ResNet reward); put RLinf's own beside dataset/"]
