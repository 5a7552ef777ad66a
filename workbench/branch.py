"""What if? Imagine a rollout again with one chunk of its actions changed, and lay it beside the original.

Noise is the rollout's own. Up to the changed chunk both are the same (but for rounding: a batch of one computes in
another order than the batch that drew the original), and every later difference comes from the actions.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.run_data import RunData
from workbench.scrubber.payload import Payload
from workbench.side_by_side import laid_over
from workbench.store.checkpoints import checkpoints_of
from wovr_core.data.segments import keyframe_of as keyframe_of  # its callers know it from here
from wovr_core.errors import WovrError
from wovr_core.files import read_json
from wovr_core.imagination import imagine_actions
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL
from wovr_core.rl.advantages import discounted_return
from wovr_core.rl.loss_mask import valid_steps
from wovr_core.stages.imagine import Simulator, make_env
from wovr_core.types import CHUNK, FloatArray, Rollout
from wovr_core.world_model.env import WorldModelEnv

MODELS = (POLICY, WORLD_MODEL, REWARD)
"""What an imagined rollout is made with."""


def reopen(data: RunData, rollout: Rollout) -> WorldModelEnv:
    """The imagined environment that drew one of a run's audited rollouts, with the very checkpoints of then.

    Raises:
        WovrError: the run no longer holds one of them.
    """
    config = read_json(data.path / "imagine" / "config.json")["config"]
    checkpoints = {what: checkpoint_of(data.path, what, rollout.versions.get(what, "")) for what in MODELS}
    return make_env(Simulator(**checkpoints), config["solver_steps"], config["chunks"])


def branch(env: WorldModelEnv, rollout: Rollout, chunk: int, actions: FloatArray, discount: float = 0.995) -> Rollout:
    """The rollout imagined again, with the actions of one chunk replaced; the later actions stay as they were.

    Args:
        env: from `reopen`.
        chunk: which one, from 0.
        actions: (C, A), raw environment actions.
        discount: per action, of the return.

    Returns:
        A rollout under an id of its own. Nobody sampled the new chunk: its tokens are -1, and from there on the
        log-probabilities are NaN, as no policy decided what follows on these frames.

    Raises:
        WovrError: no such chunk, or actions of another shape.
    """
    chunks = len(rollout.actions) // CHUNK
    if not 0 <= chunk < chunks:
        raise WovrError(f"{rollout.id} has chunks 0 to {chunks - 1}, not {chunk}")
    if actions.shape != (CHUNK, rollout.actions.shape[1]):
        raise WovrError(f"a chunk has actions of shape {(CHUNK, rollout.actions.shape[1])}, not {actions.shape}")
    changed, tokens, log_probs = rollout.actions.copy(), rollout.action_tokens.copy(), rollout.log_probs.copy()
    changed[chunk * CHUNK : (chunk + 1) * CHUNK] = actions
    tokens[chunk], log_probs[chunk:] = -1, np.nan
    frames, p_success = imagine_actions(env, keyframe_of(rollout), changed, rollout.sampler_seed)
    branched = replace(
        rollout,
        id=f"{rollout.id}-b{chunk}-{hashlib.sha256(changed.tobytes()).hexdigest()[:6]}",
        frames=frames,
        actions=changed,
        action_tokens=tokens,
        log_probs=log_probs,
        info=rollout.info | {"branch_of": rollout.id, "branch_chunk": str(chunk)},
    )
    return judged(branched, p_success, env.config.success_threshold, discount)


def judged(rollout: Rollout, p_success: FloatArray, threshold: float, discount: float) -> Rollout:
    """The rollout with another judgement of its frames, and what follows from it: the mask and the return.

    Args:
        p_success: (K*C+1,), of the frames; the start itself earns nothing.
        threshold: from which on a frame counts as a success.
        discount: per action, of the return.
    """
    success = torch.from_numpy(p_success[None, 1:]) >= threshold
    mask = valid_steps(success).numpy().reshape(-1, CHUNK)
    return replace(rollout, p_success=p_success, loss_mask=mask, reward=float(discounted_return(success, discount)[0]))


def side_by_side(original: Rollout, branched: Rollout) -> Payload:
    """For the scrubber: original and branch as its panes, their difference, and the branch's curves."""
    payload = laid_over(original, branched, titles=("original", "branch", "|branch - original|"))
    p_before: dict[str, Any] = next(c for c in payload.meta["curves"] if c["key"] == "p_success")
    p_before = p_before | {
        "key": "p_original", "title": "p, original", "values": _padded(original.p_success, len(branched.frames)),
    }  # fmt: skip
    curves = []
    for curve in payload.meta["curves"]:
        if curve["key"] == "divergence":
            curve = curve | {"title": "difference"}
        if curve["key"] != "real_success":
            curves.append(curve)
    start = int(branched.info["branch_chunk"]) * CHUNK
    badge = {"text": f"chunk {branched.info['branch_chunk']} changed", "tone": "warn"}
    badges = [badge, *(b for b in payload.meta["badges"] if "imagined" in b["text"])]
    return payload.with_meta(curves=[*curves, p_before], badges=badges, frame=start)


def _padded(values: FloatArray, n: int) -> list[float | None]:
    """Of a fork that is longer than its original, or shorter."""
    return [*(round(float(v), 4) for v in values[:n]), *[None] * (n - len(values))]


def checkpoint_of(run: Path, what: str, version: str) -> Path:
    """Where a run keeps a version of its policy, world model or reward. Raises WovrError when it does not."""
    for checkpoint in checkpoints_of(run, what):
        if checkpoint.version == version:
            return run / checkpoint.path
    raise WovrError(f"{run} no longer holds the {what.replace('_', ' ')} {version!r} that drew this rollout")
