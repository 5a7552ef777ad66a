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
# # Co-evolution: when the policy leaves the world model behind
#
# The world model has learned from episodes of *one* policy. Then that policy improves: it acts otherwise, reaches other
# places, and asks the world model about things it has never seen. WoVR answers with PACE: a limited number of *real*
# episodes of the new policy refine the world model, and practice goes on.
#
# Three questions: How do we notice, before spending anything? How many real episodes may it cost? And is the refined
# model really better?

# %%
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import ipywidgets
import numpy as np
import torch
from IPython.display import Image

from workbench import plots
from workbench.branch import keyframe_of
from workbench.film_strips import film_strip, png_bytes
from workbench.pace_plot import lineage_figure
from workbench.run_data import RunData
from workbench.starter.unpack import unpack
from wovr_core.coevolution.autopilot import AutopilotConfig, decide
from wovr_core.coevolution.drift import action_drift, probe_set
from wovr_core.config import from_dict
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.data.segments import split_ids
from wovr_core.envs.pool import EnvPool
from wovr_core.files import wovr_home
from wovr_core.model_files import load_policy, load_world_model
from wovr_core.pace_loop import State, pace_round
from wovr_core.recipes import Recipe
from wovr_core.stages import pace, train_policy_rl
from wovr_core.stages.collect import CollectPolicyConfig, load_named
from wovr_core.stages.imagine import Simulator
from wovr_core.stages.refine_world_model import RefineConfig, world_model_error
from wovr_core.stages.train_world_model import TransformerTraining
from wovr_core.statistics import bootstrap_interval
from wovr_core.types import CHUNK
from wovr_core.world_model.closed_loop import imagine_episode

# WOVR_NOTEBOOK_FAST=1 runs the same code with smaller numbers, to try it out in seconds.
FAST = os.environ.get("WOVR_NOTEBOOK_FAST") == "1"
SIBLINGS = 5 if FAST else 12  # of a group of rollouts
UPDATES = 1 if FAST else 3
EPISODES, HELD_OUT = (2, 1) if FAST else (8, 3)  # real ones of a refinement
MAX_STEPS = 48 if FAST else 120
REFINE_STEPS = 4 if FAST else 60

work = wovr_home() / "notebooks" / "05_coevolution"
shutil.rmtree(work, ignore_errors=True)  # an earlier execution of this notebook
run = unpack(runs=work).path  # a copy of the small run that comes with the package
data = RunData(run)
recipe = from_dict(Recipe, data.description["config"], "run.json")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
start = Simulator(
    Path(data.outputs("rl_evolved")["policy"]),
    Path(data.outputs("refine")["world_model"]),
    Path(data.outputs("refine")["reward"]),
)

# %% [markdown]
# ## A policy that moves on
#
# Two policies practise in imagination from the same starts, by masked GRPO: one with the published learning rate, one with
# steps a hundred times as large. The second will follow whatever the world model rewards, its errors included.

# %%
starts = {
    r.start: keyframe_of(r) for r in (data.rollout(row["rollout_id"]) for row in data.audit_rows())
}
version = write_keyframes(work / "starts.safetensors", list(starts.values()))
gentle = train_policy_rl.PolicyRLConfig(
    updates=UPDATES, groups=2, group_size=SIBLINGS, chunks=7, success_share=(0.01, 0.99)
)
greedy = replace(gentle, learning_rate=100 * gentle.learning_rate)


def practise(name, config, simulator):
    inputs = train_policy_rl.PolicyRLInputs(
        simulator, str(work / "starts.safetensors"), version, seed=1
    )
    done = train_policy_rl.run(config, inputs, work / f"rl_{name}")
    print(
        f"{name:6s}: {done.informative_groups} of {done.groups} groups told something, "
        f"weights moved by {100 * done.parameter_change:.3f} %"
    )
    return replace(simulator, policy=Path(done.policy))


evolved = {"gentle": practise("gentle", gentle, start), "greedy": practise("greedy", greedy, start)}

# %% [markdown]
# ## Noticing, for nothing
#
# How differently do two policies act? Show both the same observations $o$ (from real episodes that we have already), and
# take the symmetric Kullback-Leibler divergence of their action tokens $a$, in nats per token:
#
# $$D = \mathbb{E}_o\left[\mathrm{KL}\left(\pi(a \mid o)\,\|\,\pi'(a \mid o)\right) + \mathrm{KL}\left(\pi'(a \mid o)\,\|\,\pi(a \mid o)\right)\right]$$
#
# It takes no simulator and no robot. A policy does not drift from itself.

# %%
known = [run / "audit" / "episodes", run / "collect" / "episodes"]
probe = probe_set(list(EpisodeSet(known[0])), count=32, seed=0)
before, _ = load_policy(start.policy)
drift = {"itself": action_drift(before, before, probe)}
drift |= {name: action_drift(before, load_policy(s.policy)[0], probe) for name, s in evolved.items()}
for name, value in drift.items():
    print(f"{name:7s} {value:.5f} nats per token")

assert abs(drift["itself"]) < 1e-5
assert drift["greedy"] > 5 * max(drift["gentle"], 0.0)

# %% [markdown]
# ## The rule, and the budget
#
# *Autopilot*: below a small drift, do nothing. Above it, spend one or two real episodes to see the world model's error on
# what the new policy does. Where the drift is large, or the error has grown, spend the episodes that a refinement takes, if
# the budget has them. Move the sliders: what would it do with the drifts measured above?

# %%
cost = 1 + EPISODES


def rule(threshold=0.02, budget=2 * cost):
    config = AutopilotConfig(budget=budget, probe_drift=min(0.005, threshold), drift=threshold)
    for name, value in drift.items():
        verdict = decide(value, None, None, budget, cost, config)
        print(f"{name:7s} -> {verdict.action}: {verdict.reason}")


_ = ipywidgets.interact(
    rule, threshold=ipywidgets.FloatLogSlider(value=0.02, base=10, min=-4, max=1), budget=(0, 30)
)

# %% [markdown]
# ## Rounds
#
# Now in earnest, with real episodes in the simulator. Round 1 looks at the gentle policy, round 2 at the greedy one. In
# round 3 the greedy policy has practised once more, and somebody has set the refinement's learning rate far too high.
#
# Some of the new episodes are *held out* of the refinement. They decide: a refined model takes over only if its error on
# them is smaller. A tie keeps the old one. The error is the mean absolute difference (of 255) between imagined and real
# frames over what moves, in closed loop.

# %%
refining = RefineConfig(
    transformer=TransformerTraining(steps=REFINE_STEPS, batch=8, learning_rate=1e-4, ema_decay=0.9),
    reward_steps=REFINE_STEPS,
    held_out=HELD_OUT,
)
harmful = replace(refining, transformer=replace(refining.transformer, learning_rate=1.0))
# In this lesson the threshold lies between the two policies; the autopilot's own is 0.2.
middle = round((drift["greedy"] + max(drift["gentle"], 0.0)) / 2, 3)
rule_used = AutopilotConfig(budget=2 * cost, probe_drift=middle, drift=middle, probe_frames=32)
amount = CollectPolicyConfig(episodes=EPISODES, max_steps=MAX_STEPS)
sensible = pace.PaceConfig(rule_used, replace(amount, episodes=1), amount, refining)
versions = tuple(EpisodeSet(folder).write_index() for folder in known)
calibration = [name for name in load_named(known) if name.startswith("1/")]
state = State(start, start.policy, tuple(map(str, known)), versions, tuple(calibration))
entries, pool = [], EnvPool(workers=0)


def round_of(number, state, policy, config):
    look = partial(pace.run, out_dir=work / f"round{number}")
    entry, after = pace_round(number, state, policy, look, config, recipe, pool)
    print(f"round {number}: {entry['action']} ({entry['reason']})")
    print(f"    {entry['spent']} of {rule_used.budget} real episodes spent")
    for kind, kept in entry["promoted"].items():
        print(f"    {kind.replace('_', ' ')}: {'promoted' if kept else 'rolled back'}")
    entries.append(entry)
    return after


state = round_of(1, state, evolved["gentle"].policy, sensible)
assert entries[0]["action"] == "wait" and state.spent == 0

# %%
state = round_of(2, state, evolved["greedy"].policy, sensible)
assert entries[1]["action"] == "refine"
errors = [entries[1][when]["world_model_error"] for when in ("before", "after")]
assert entries[1]["promoted"]["world_model"] == (errors[1] < errors[0])

# %%
again = practise("again", greedy, state.simulator)
state = round_of(3, state, again.policy, replace(sensible, refine=harmful))
assert not entries[2]["promoted"].get("world_model", False)
assert state.spent <= rule_used.budget
pool.close()

# %% [markdown]
# ## Better, or only newer?
#
# Left of each arrow the old model, right the refined one, on the same held-out episodes.

# %%
for entry in entries:
    for kind, key in (("world_model", "world_model_error"), ("reward", "reward_log_loss")):
        if entry["candidates"]:
            verdict = "promoted" if entry["promoted"][kind] else "rolled back"
            change = f"{entry['before'][key]:.4g} -> {entry['after'][key]:.4g}"
            print(f"round {entry['round']}, {key.replace('_', ' ')}: {change}, {verdict}")

# %% [markdown]
# How sure is round 2's verdict? Its new episodes one by one, under the old world model and under the refined one: the pairs
# tell more than the means. Those that the refinement learned from are drawn too; they do not decide. The rule asks for
# *better*, not for much better; and an interval over one episode says nothing. The sampler's noise is drawn anew here, so
# that a difference which noise can turn around is seen to be one.

# %%
new = list(EpisodeSet(work / "round2" / "collect" / "episodes"))
_, held_out = split_ids([episode.id for episode in new], HELD_OUT)
old, refined = (
    load_world_model(path)[0]
    for path in (start.world_model, work / "round2" / "refine" / "world_model")
)
errors = np.array([[world_model_error(model, [e], 1, seed=0) for model in (old, refined)] for e in new])
figure = plots.empty_figure("World model's error on the new policy's episodes", "", "error (of 255)")
for episode, pair in zip(new, errors, strict=True):
    colour, name = (plots.RED, "held out") if episode.id in held_out else (plots.GREY, "learned from")
    figure.add_scatter(
        x=["old", "refined"], y=pair, mode="lines+markers", name=name, line={"color": colour}
    )
change = (errors[:, 1] - errors[:, 0])[[e.id in held_out for e in new]]
low, high = bootstrap_interval(change, np.random.default_rng(0))
print(f"held out: {change.mean():+.2f} [{low:+.2f}, {high:+.2f}], n = {len(change)}")
figure

# %% [markdown]
# See for yourself: above, the real episode with the largest error; below, its imagination by the old model in closed loop
# from the first frame, under the same actions.

# %%
shown = new[int(errors[:, 0].argmax())]
imagined = imagine_episode(old, shown.frames, shown.actions, shown.length // CHUNK, 1, 0)
Image(png_bytes(film_strip([shown.frames[1 : len(imagined) + 1], imagined], count=8)))

# %% [markdown]
# ## Where everything came from
#
# Each version of policy, world model and reward, by what it was made from. Crosses were rolled back: nobody ever practised
# in them, and they are kept, so that one can look why. Hover for the numbers.

# %%
lineage_figure(entries)

# %% [markdown]
# What this shows, and what not. Drift is measured for nothing and tells a gentle step from a greedy one; the budget holds;
# a harmful refinement does not get through. Whether the refinement of round 2 was worth its real episodes cannot be told
# from so few; in the paper, WoVR without PACE ends at 71.0 % on LIBERO-Spatial, with it at 81.5 %.
#
# `wovr autopilot RUN --budget 30` runs such rounds, with practice in between, and keeps the same ledger; *Lineage* in
# `wovr app` draws all versions of all runs.
#
# Next: [annotate and correct](06_annotate_and_correct.ipynb).
