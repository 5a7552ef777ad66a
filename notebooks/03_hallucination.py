# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Watching a world model hallucinate
#
# A policy practises inside a learned simulator, collects imagined successes, and is rewarded for them. **How many of
# these successes are real?** A *hallucination* is a systematic mismatch between what is imagined and what really
# happens under the very same actions. Because our episodes replay exactly
# ([notebook 01](01_libero_episodes.ipynb)), it can be counted: execute each imagined rollout's actions in the simulator
# and compare. This is the *audit*.
#
# We take the models of the newest whole demo run (or of the starter pack), let the policy act for real, imagine from
# what it met, audit, and then ask whether hallucinations can be spotted *without* the simulator.
#
# About 2 minutes on 2 cores. With `WOVR_NOTEBOOK_FAST=1` there are fewer rollouts; then rates say little, as their
# intervals tell.

# %%
import os
from dataclasses import replace
from pathlib import Path

import ipywidgets
import numpy as np
from IPython.display import Image, display

from workbench import plots
from workbench.branch import keyframe_of
from workbench.film_strips import as_seen, film_strip, png_bytes
from workbench.reproduce.figures import false_success_by_depth
from workbench.reproduce.stage_store import StageStore
from workbench.run_data import RunData
from workbench.starter.unpack import demo_run
from workbench.widgets import Scrubber
from wovr_core import recipes
from wovr_core.audit.hallucination import frame_disagreement
from wovr_core.audit.outcomes import audit_rollout, summarise
from wovr_core.config import from_dict
from wovr_core.data.episode_files import EpisodeSet, read_rollout
from wovr_core.data.keyframes import KeyframeConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.files import read_json, wovr_home
from wovr_core.imagination import imagine_actions_many
from wovr_core.models_in_use import models_in_use
from wovr_core.run_folder import Run
from wovr_core.seeding import derive_seed
from wovr_core.stages import audit, collect, imagine, select_keyframes
from wovr_core.statistics import auroc, bootstrap_interval, format_rate
from wovr_core.types import CHUNK

FAST = os.environ.get("WOVR_NOTEBOOK_FAST") == "1"
EPISODES = 2 if FAST else 8  # of the policy, for real
STARTS, SIBLINGS = (3, 2) if FAST else (12, 4)  # keyframes, and imagined rollouts from each
CHUNKS = 9  # of each rollout
SEEDS = 2 if FAST else 3  # further imaginations of each rollout
WORKERS = 0 if FAST else 2  # simulator processes; 0: this one

# %% [markdown]
# ## Imagine, then audit
#
# Four stages of the main job, at the size set above: the policy's own episodes from training starts; *keyframes*, the
# starts of imagination, most of them a little before something decisive; rollouts; and the audit. A second call finds
# everything on disk.

# %%
models = RunData(demo_run(stages=("rl_evolved", "refine", "imagine", "audit")))
simulator = imagine.Simulator(**models_in_use(models.path))
recipe = from_dict(recipes.Recipe, models.description["config"], models.name)
print(f"models of the run {models.name}: {simulator.versions()}")

# %%
acting = collect.CollectPolicyConfig(episodes=EPISODES, max_steps=160)
starts = KeyframeConfig(count=max(STARTS, 12), initial_share=0.15)
rollouts = imagine.ImagineConfig(starts=STARTS, group_size=SIBLINGS, chunks=CHUNKS, solver_steps=1)
with Run(wovr_home() / "notebooks" / "imagination", recipe) as run, EnvPool(WORKERS) as pool:
    do = StageStore(run).stage
    given = collect.CollectInputs(recipe.env, recipe.tasks, 0, pool, simulator.policy)
    met = do("collect", collect.run_policy_episodes, acting, given)
    given = select_keyframes.KeyframeInputs((met.episodes,), (met.version,), simulator.world_model, 0)
    keyframes = do("keyframes", select_keyframes.run, starts, given)
    given = imagine.ImagineInputs(simulator, keyframes.keyframes, keyframes.version, 0)
    imagined = do("imagine", imagine.run, rollouts, given)
    given = audit.AuditInputs(recipe.env, imagined.rollouts, imagined.version, pool)
    audited = do("audit", audit.run, audit.AuditConfig(), given)
print(f"the policy's real episodes: {format_rate(met.successes, met.count)} successful")
print(f"imagined rollouts that succeed: {format_rate(imagined.imagined_successes, imagined.count)}")

# %% [markdown]
# ## False successes
#
# The headline of an audit is the **false-success rate**: of the imagined successes, the share that failed for real. It
# stands with its denominator and Wilson's 95 % interval,
#
# $$\frac{k + z^2/2 \pm z\sqrt{k(n-k)/n + z^2/4}}{n + z^2}, \qquad z = 1.96,$$
#
# which stays honest for small $n$ (try $k = 0$: the naive interval has no width).

# %%
print("here:        false among imagined successes", format_rate(*audited.false_success))
before = models.outputs("audit")
print(f"{models.name:12} false among imagined successes", format_rate(*before["false_success"]))
print(f"{models.name:12} real among imagined failures ", format_rate(*before["false_failure"]))
rates = {"false successes, here": audited.false_success, f"in the run {models.name}": before["false_success"]}
figure = plots.success_rates({k: tuple(rate) for k, rate in rates.items()}, "Imagined successes that are false")
figure.update_yaxes(title="false (%)")

# %% [markdown]
# ## Deeper is worse
#
# Imagined frames become the next chunk's context, so errors add up. Each thin line is a rollout: the difference of
# imagined and real frames over depth, false successes in red. Below it, the false-success rate by the depth at which
# success was imagined: this curve is the argument for starting *near* the decisive moment.

# %%
rows = [*models.all_audit_rows(), *read_json(Path(audited.rows))]
plots.divergence(rows)

# %%
early = np.array([np.mean(row["divergence"][1 : CHUNK + 1]) for row in rows])
late = np.array([np.mean(row["divergence"][-CHUNK:]) for row in rows])
low, high = bootstrap_interval(late - early, np.random.default_rng(0))
print(f"first chunk: off by {early.mean():.1f} grey levels; last chunk: {late.mean():.1f}")
print(f"the difference is {np.mean(late - early):.1f} [{low:.1f}, {high:.1f}] over {len(rows)} rollouts")
assert low > 0, "errors do not grow with depth"

# %%
successes = [row for row in rows if row["imagined_success"]]
verdicts = "".join("01"[not row["real_success"]] for row in successes)
false_success_by_depth([{"arm": "audited", "depths": [row["depth"] for row in successes], "false": verdicts}])

# %% [markdown]
# ## Look at one
#
# The most telling rollout of ours: a false success if there is one, else the one that strays most. Left what the
# simulator did under the imagined rollout's actions, then what was imagined, then the difference; below, the success
# probability that earned the reward. What do you see first: the object, the gripper, or the background?

# %%
dreams = {name: read_rollout(path) for name, path in EpisodeSet(Path(imagined.rollouts)).paths.items()}
truths = {e.id: e for e in EpisodeSet(Path(audited.episodes))}
rows = read_json(Path(audited.rows))
worst = max(rows, key=lambda r: (r["imagined_success"] and not r["real_success"], max(r["divergence"])))
kind = "a false success" if worst["imagined_success"] and not worst["real_success"] else "not a false success"
dream, truth = dreams[worst["rollout_id"]], truths[worst["rollout_id"]]
print(f"{dream.id}: {kind}, off by up to {max(worst['divergence']):.0f} grey levels")
Scrubber(as_seen(dream), as_seen(truth))

# %% [markdown]
# ## Would a stricter judge help?
#
# The reward classifier says success where $p \ge \tau$. Move $\tau$: fewer successes are imagined, and what is left is
# more often true, or it is not, if the *picture* is wrong and the judge right about it.


# %%
def judged(threshold):
    again = [replace(r, info=dict(r.info) | {"success_threshold": str(threshold)}) for r in dreams.values()]
    return summarise([audit_rollout(r, truths[r.id]) for r in again])


thresholds = [0.1, 0.3, 0.5, 0.7, 0.9, 0.97]
sweep = {t: judged(t).false_success for t in thresholds}
assert [sweep[t].total for t in thresholds] == sorted((r.total for r in sweep.values()), reverse=True)


# %%
def tell(threshold):
    found = judged(threshold)
    print("false among imagined successes:", format_rate(found.false_success.count, found.false_success.total))
    print("real among imagined failures:  ", format_rate(found.false_failure.count, found.false_failure.total))


_ = ipywidgets.interact(
    tell, threshold=ipywidgets.FloatSlider(0.5, min=0.05, max=0.99, step=0.05, continuous_update=False)
)
# %%
swept = {f"τ = {t}": (r.count, r.total) for t, r in sweep.items()}
plots.success_rates(swept, "False successes against the threshold").update_yaxes(title="false (%)")

# %% [markdown]
# ## A score that needs no simulator
#
# On a real robot there is no exact replay. But one can ask the world model again: same start, same actions, **other
# noise**. Where it knows what happens, all imaginations agree; where they differ, it makes something up. Take the mean
# deviation between them over the last two chunks, in grey levels.

# %%
env = imagine.make_env(simulator, 1, CHUNKS)
kept = list(dreams.values())
noise = [[derive_seed(0, "again", r.id, i) for r in kept] for i in range(SEEDS)]
actions = np.stack([r.actions for r in kept])
others = [imagine_actions_many(env, [keyframe_of(r) for r in kept], actions, seeds)[0] for seeds in noise]
score = np.array(
    [
        frame_disagreement(r.frames[-2 * CHUNK :], np.stack([o[i][-2 * CHUNK :] for o in others]))
        for i, r in enumerate(kept)
    ]
)
same, _ = imagine_actions_many(env, [keyframe_of(kept[0])], actions[:1], [kept[0].sampler_seed])
own = frame_disagreement(kept[0].frames[-2 * CHUNK :], same[:, -2 * CHUNK :])
print(f"disagreement with other noise: {score.min():.2f} to {score.max():.2f}; with its own noise: {own:.3f}")
assert own < 0.5 * score.min(), "the noise is what makes imaginations differ"

# %% [markdown]
# The rollout on which imaginations disagree most; the top row is the one that was audited, the others have other noise:

# %%
most = int(score.argmax())
display(Image(png_bytes(film_strip([kept[most].frames, *(o[most] for o in others[:3])], count=8, scale=2))))

# %% [markdown]
# Does the score find what is wrong? The area under the ROC curve is the probability that a wrong rollout scores above a
# right one; 0.5 is a coin. DeLong's interval says how sure we may be.

# %%
truth_of = {row["rollout_id"]: row for row in rows}
wrong = [truth_of[r.id]["imagined_success"] != truth_of[r.id]["real_success"] for r in kept]
strayed = [float(np.mean(truth_of[r.id]["divergence"][-2 * CHUNK :])) for r in kept]
print("disagreement finds wrong outcomes: AUROC", auroc(score, wrong))
print("... and the half that strayed most from the real pictures: AUROC", auroc(score, strayed > np.median(strayed)))

# %%
figure = plots.empty_figure("Where imaginations disagree, are they wrong?", "disagreement", "off from reality (0-255)")
for label, colour, chosen in (("outcome right", plots.GREY, False), ("outcome wrong", plots.RED, True)):
    points = [(s, d) for s, d, w in zip(score, strayed, wrong, strict=True) if w == chosen]
    x, y = zip(*points, strict=True) if points else ((), ())
    figure.add_scatter(x=x, y=y, mode="markers", name=label, marker={"color": colour, "size": 9})
figure

# %% [markdown]
# What this shows and what not: a world model trained for minutes on one task hallucinates much and its noise moves
# little, so the score is blurred; the figures printed above are of *this* run and these few rollouts, and an AUROC
# whose interval holds 0.5 has shown nothing. What carries over to large models is the method: count with a replay where
# you can, rank with disagreement where you cannot, and keep the denominators.
#
# Next: [keyframe-initialised rollouts and masked GRPO](04_keyframes_and_grpo.ipynb).
