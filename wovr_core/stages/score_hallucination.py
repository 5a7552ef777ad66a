"""Score audited rollouts without labels, and see how well the scores rank what the audit found to be false."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wovr_core.audit.hallucination import (
    against_rivals,
    frame_disagreement,
    outcome_disagreement,
    rank_quality,
    with_disagreement,
)
from wovr_core.audit.outcomes import frame_divergence, imagined_success_step
from wovr_core.data.episode_files import EpisodeSet, read_rollout, read_rollout_summary
from wovr_core.data.segments import keyframe_of
from wovr_core.errors import WovrError
from wovr_core.files import read_json, write_json
from wovr_core.imagination import imagine_actions_many
from wovr_core.model_files import load_world_model, version_of
from wovr_core.precision import autocast
from wovr_core.seeding import derive_seed
from wovr_core.stages.folder import OnMetrics, StageFolder, ignore_metrics
from wovr_core.stages.imagine import Simulator, make_env
from wovr_core.stages.progress import Progress
from wovr_core.stages.train_world_model import last_weights_path
from wovr_core.statistics import Auroc
from wovr_core.types import CHUNK, FloatArray, Frames, Rollout
from wovr_core.world_model.env import WorldModelEnv
from wovr_core.world_model.model import WorldModel


@dataclass(frozen=True)
class HallucinationConfig:
    seeds: int = 4
    """Imaginations with other noise, per rollout."""
    solver_steps: int = 1
    """As the rollouts were imagined."""
    tail: int = 2 * CHUNK
    """Frames before (and with) the decisive one over which imaginations are compared: there the object is."""


@dataclass(frozen=True)
class HallucinationInputs:
    simulator: Simulator
    """That made the rollouts. Its world model's last weights are needed too."""
    rollouts: str
    version: str
    audit_rows: str
    """JSON of the audit: the truth that the scores are held against, never read by them."""
    seed: int


@dataclass(frozen=True)
class HallucinationOutputs:
    rows: str
    """JSON file: per rollout its scores and what was true of it."""
    false_success: dict[str, dict[str, Any]]
    """score -> area under the ROC curve of false among imagined successes."""
    wrong_outcome: dict[str, dict[str, Any]]
    """The same, of wrongly imagined outcomes among all rollouts."""
    against_rivals: dict[str, list[float | None]]
    """rival -> [difference, low, high] of the areas, over imagined successes; null where these are too few."""


def run(
    config: HallucinationConfig, inputs: HallucinationInputs, out_dir: Path, on_metrics: OnMetrics = ignore_metrics
) -> HallucinationOutputs:
    """Imagine every audited rollout again, score it, and compare with the audit.

    Raises:
        WovrError: there are no rollouts, or the world model's last weights were not kept.
    """
    last = last_weights_path(inputs.simulator.world_model)
    if not last.is_dir():
        raise WovrError(f"{last} is missing: the world model was trained before last weights were kept; train it anew")
    versions = inputs.simulator.versions() | {"last": version_of(last), "rollouts": inputs.version}
    versions["seed"] = str(inputs.seed)
    folder = StageFolder(out_dir, "score_hallucination", config, versions, on_metrics)
    finished = folder.outputs(HallucinationOutputs)
    if finished:
        return finished
    truth = {row["rollout_id"]: row for row in read_json(Path(inputs.audit_rows))}
    paths = EpisodeSet(Path(inputs.rollouts)).paths
    if not paths:
        raise WovrError(f"no rollouts in {inputs.rollouts}: there is nothing to score")
    longest = max(read_rollout_summary(path).length for path in paths.values()) // CHUNK
    env = make_env(inputs.simulator, config.solver_steps, longest)
    other = WorldModelEnv(load_world_model(last)[0], env.reward, env.config)
    progress = Progress(folder.title, len(paths), "rollout")
    scored = []
    for path in paths.values():
        rollout = read_rollout(path)
        scored.append(scores(rollout, env, other, config, inputs.seed))
        progress.update(1)
    progress.close()
    ids = list(paths)
    ranked = with_disagreement(scored)
    rows = [
        {"rollout_id": name, **{k: round(v, 5) for k, v in row.items()}, **_truth(truth[name])}
        for name, row in zip(ids, ranked, strict=True)
    ]
    write_json(folder.path / "rows.json", rows)
    imagined = [i for i, row in enumerate(rows) if row["imagined_success"]]
    false = [not rows[i]["real_success"] for i in imagined]
    wrong = [row["imagined_success"] != row["real_success"] for row in rows]
    successes = [ranked[i] for i in imagined]
    found = rank_quality(successes, false)
    folder.log(len(rows), {f"auroc/{k}": v.value for k, v in found.items()})
    return folder.finish(
        HallucinationOutputs(
            rows=str(folder.path / "rows.json"),
            false_success=_plain(found),
            wrong_outcome=_plain(rank_quality(ranked, wrong)),
            against_rivals={k: [_number(x) for x in v] for k, v in against_rivals(successes, false).items()},
        )
    )


def scores(
    rollout: Rollout, env: WorldModelEnv, other: WorldModelEnv, config: HallucinationConfig, seed: int
) -> dict[str, float]:
    """All scores of one rollout but for "disagreement", which ranks it among others; higher is more suspicious.

    Args:
        env: what imagined it.
        other: the same with other weights.
    """
    step = imagined_success_step(rollout)
    depth = len(rollout.actions) if step is None else step
    # Later frames cost time and are masked in training; whole chunks are imagined.
    length = -(-depth // CHUNK) * CHUNK
    first = max(depth - config.tail, 0)
    seeds = [derive_seed(seed, "hallucination", rollout.id, i) for i in range(config.seeds)]
    frames, p = _again(env, rollout, length, seeds)
    own_frames, own_p = _again(other, rollout, length, [rollout.sampler_seed])
    threshold = float(rollout.info["success_threshold"])
    part = slice(first, depth + 1)
    return {
        "seed_frames": frame_disagreement(rollout.frames[part], frames[:, part]),
        "seed_success": outcome_disagreement(step is not None, p[:, 1:], threshold),
        "weights_frames": frame_disagreement(rollout.frames[part], own_frames[:, part]),
        "weights_success": outcome_disagreement(step is not None, own_p[:, 1:], threshold),
        "reward_doubt": 1 - 2 * abs(float(rollout.p_success[1 : depth + 1].max()) - 0.5),
        "depth": float(depth),
        "reconstruction_error": reconstruction_error(env.model, rollout.frames[part]),
    }


def _again(env: WorldModelEnv, rollout: Rollout, length: int, seeds: Sequence[int]) -> tuple[Frames, FloatArray]:
    start = keyframe_of(rollout)
    actions = np.repeat(rollout.actions[None, :length], len(seeds), axis=0)
    return imagine_actions_many(env, [start] * len(seeds), actions, seeds)


@torch.no_grad()
def reconstruction_error(model: WorldModel, frames: Frames) -> float:
    """Mean absolute difference (of 255) of frames (T, H, W, 3) and what the autoencoder makes of them."""
    with autocast():
        codec = model.codec
        again = codec.decode_frames(codec.encode_frames(torch.from_numpy(np.ascontiguousarray(frames)))).numpy()
    return float(frame_divergence(again, frames).mean())


def _truth(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("task", "imagined_success", "real_success")}


def _plain(found: Mapping[str, Auroc]) -> dict[str, dict[str, Any]]:
    return {
        name: asdict(area) | {"value": _number(area.value), "interval": list(area.interval)}
        for name, area in found.items()
    }


def _number(value: float) -> float | None:
    """JSON knows no NaN: nothing to rank is null."""
    return None if value != value else round(value, 6)
