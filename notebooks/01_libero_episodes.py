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
# # LIBERO episodes and their conventions
#
# Everything in WoVR begins with *episodes*: pictures, actions, and whether the task is done. Most lost days in robot
# learning are lost here, to a picture upside down or a gripper that opens where it should close. This notebook builds
# one LIBERO task, drives the arm by hand, records an episode, and asks of each convention: **how would we notice if it
# were wrong?**
#
# About a minute on 2 cores. With `WOVR_NOTEBOOK_FAST=1` pictures and counts are smaller; the code is the same.

# %%
import os
import time
from dataclasses import replace

import ipywidgets
import numpy as np
from IPython.display import Image, display

from workbench import episode_plots
from workbench.film_strips import as_seen, film_strip, png_bytes, upright
from workbench.widgets import Scrubber, Steering
from wovr_core.audit.outcomes import frame_divergence
from wovr_core.data.doctor import diagnose, see
from wovr_core.data.formats.base import Clip, Conventions
from wovr_core.envs import libero_suites
from wovr_core.envs.expert.demonstrations import ExpertConfig, run_expert_episode
from wovr_core.envs.libero import EVALUATION_STATES, LiberoConfig, LiberoEnv
from wovr_core.envs.pool import EnvPool
from wovr_core.execution import ReplayJob, replay
from wovr_core.pictures import ssim
from wovr_core.types import CHUNK, FPS, NULL_ACTION

FAST = os.environ.get("WOVR_NOTEBOOK_FAST") == "1"
SIZE = 64 if FAST else 128  # pixels
STARTS = 6 if FAST else 25  # of each kind
CLIPS = 4 if FAST else 10  # episodes for the doctor
WORKERS = 0 if FAST else 1  # processes that replay; 0: this one

# %% [markdown]
# ## The tasks
#
# A *suite* is a set of tasks that differ in one respect: the place of the object, the object, or the goal.

# %%
for suite in libero_suites.SUITES:
    tasks = libero_suites.tasks(suite)
    print(f"{suite:15} {len(tasks):3} tasks, the first: “{tasks[0].instruction}”")

# %%
env = LiberoEnv(LiberoConfig(suite="libero_object", size=SIZE), 0)
print(f"{env.task}: “{env.task.instruction}”")
print("solved where this holds:", " and ".join(str(clause) for clause in env.goal))

# %% [markdown]
# ## Where an episode begins
#
# LIBERO ships 50 initial states a task. They are the examination: **nothing may be trained on them.** Training starts
# are drawn anew from a seed, by LIBERO's own placement rules. Do the two look alike, and is none of the 50 among ours?


# %%
def layout(reset, index):
    reset(index)
    return np.stack([pose[:3] for name, pose in env.poses().items() if name != "eef"])


examination = np.stack([layout(env.reset_to_initial, i) for i in range(STARTS)])
training = np.stack([layout(env.reset, seed) for seed in range(STARTS)])
where = {"evaluation states": examination, "training starts": training}
episode_plots.positions(
    {label: places[..., :2].reshape(-1, 2) for label, places in where.items()},
    "Where all objects begin, seen from above",
)

# %%
apart = np.abs(training[:, None] - examination[None]).max(axis=(2, 3))  # the object that differs most, in m
print(f"the nearest training start differs from an evaluation state by {100 * apart.min():.1f} cm in some object")
assert apart.min() > 1e-4, "a training start is one of the examination's"
assert np.array_equal(env.reset(3), env.reset(3)), "a start is a function of its seed"
assert not np.array_equal(env.reset(3), env.reset(4))

# %% [markdown]
# Turn through the evaluation states:

# %%
_ = ipywidgets.interact(
    lambda state: display(Image(png_bytes(film_strip([env.reset_to_initial(state)[None]], scale=256 // SIZE)))),
    state=ipywidgets.IntSlider(0, 0, EVALUATION_STATES - 1, continuous_update=False),
)
# %% [markdown]
# ## Which way is up?
#
# robosuite hands out pictures upside down. Published LIBERO policies were trained on that picture **turned by 180
# degrees**, so this is how frames are stored, left and right swapped against what you would see standing at the camera.
# Everything that is *shown* here is turned upright once more, at the last moment.

# %%
stored = env.reset(0)
raw = stored[::-1, ::-1]
episode_plots.pictures({"raw render": raw, "stored: turned by 180°": stored, "as you see it": upright(stored)})

# %% [markdown]
# ## What an action does
#
# An action is seven numbers: $a = (\Delta x, \Delta y, \Delta z, \Delta r_x, \Delta r_y, \Delta r_z, g)$, each in
# $[-1, 1]$, at 20 Hz. The first six move the hand (1 is 5 cm or half a radian *as a target*; in 50 ms the controller
# gets a part of the way). The gripper's sign is the trap: **-1 opens, +1 closes**. Do not believe it, measure it: give
# each command for one *chunk* of eight actions, the unit in which policies decide and world models imagine.

# %%
home = env.sim_state()


def after(command):
    env.restore(home)
    for _ in range(CHUNK):
        env.advance(np.array(command, np.float32))
    return 100 * env.poses()["eef"][:3], 100 * env.gripper_width()


still, _ = after(NULL_ACTION)
moved = np.stack([after(0.5 * np.eye(7)[i] + NULL_ACTION)[0] - still for i in range(3)])
episode_plots.response(moved, ["dx = 0.5", "dy = 0.5", "dz = 0.5"], ["x", "y", "z"], "Eight actions of 0.5", "cm")

# %%
opened, closed = after(NULL_ACTION)[1], after(-NULL_ACTION)[1]
print(f"gripper at -1: {opened:.1f} cm wide; at +1: {closed:.1f} cm")
assert (np.diag(moved) > 3 * np.abs(moved - np.diag(np.diag(moved))).max()).all(), "each command moves its own axis"
assert opened > closed + 3, "-1 opens"

# %% [markdown]
# Now drive it yourself. The strip shows the frame before the chunk and every second one of it, simulated when you let
# go of a slider. In the picture the robot stands at the far side and looks at you: *away* from the robot is towards
# you.


# %%
def execute(actions):
    return np.stack([env.restore(home), *(env.step(action).frame for action in actions)])


steering = Steering({"simulator": execute}, scale=192 // SIZE)
steering

# %%
steering.sliders["dz"].value = -1.0  # as if you had pulled the slider
assert not np.array_equal(steering.frames["simulator"][0], steering.frames["simulator"][-1])
steering.sliders["dz"].value = 0.0

# %% [markdown]
# ## An episode
#
# A scripted demonstrator picks up the can, with noise on its actions so that the data holds recoveries. The scrubber
# steps through it (arrow keys; Shift steps a chunk).

# %%
episode = run_expert_episode(env, 1, ExpertConfig())
for name in ("frames", "actions", "success", "sim_states"):
    array = getattr(episode, name)
    print(f"{name:11} {array.shape!s:20} {array.dtype}")
print(f"{episode.length} actions are {episode.length / FPS:.1f} s or {episode.length // CHUNK} chunks")
Scrubber(as_seen(episode))

# %%
assert len(episode.frames) == episode.length + 1, "actions[t] leads from frames[t] to frames[t + 1]"
assert episode.length % CHUNK == 0
assert set(np.unique(episode.actions[:, 6])) == {-1.0, 1.0}
assert episode.succeeded, "the demonstrator failed; take another seed"
episode_plots.actions_over_time(episode.actions, episode.first_success)

# %% [markdown]
# ## Exact replay
#
# An imagined success counts only if the *same actions from the same instant* succeed for real. So replay has to be
# exact. `sim_states` holds all the simulator needs, the controller's memory included. We take up the episode in its
# middle, in another simulator, and compare **bit for bit**. Beside it: the same replay with one action changed by a
# thousandth.

# %%
middle = episode.length // 2
rest = ReplayJob(env.config, 0, "again", episode.sim_states[middle], episode.actions[middle:])
nudged = rest.actions.copy()
nudged[0, 0] += 0.001
with EnvPool(WORKERS) as pool:
    again, other = pool.map(replay, [rest, replace(rest, actions=nudged)])
for name in ("frames", "success", "sim_states"):
    assert np.array_equal(getattr(again, name), getattr(episode, name)[middle:]), f"{name} differ"
print(f"{again.length} actions replayed: frames, predicate and states are the same to the bit")

# %%
differences = {
    "same actions": frame_divergence(again.frames, episode.frames[middle:]),
    "first action changed by 0.001": frame_divergence(other.frames, episode.frames[middle:]),
}
assert not np.array_equal(other.sim_states, again.sim_states), "a changed action leaves a trace"
episode_plots.over_frames(differences, "Replay against the recording", "mean |difference| (0-255)")

# %% [markdown]
# A thousandth on one action of many leaves a trace that no eye would find. That is why replays are compared to the bit
# and not "within a tolerance": whoever accepts this curve as equal would also accept a controller restored without its
# memory, and learn of it when a grasp fails.
#
# ## Two renderers, one physics
#
# LIBERO's own pictures cost most of the simulation's time. The profile `fast` draws what stands still once and then
# only what moves, with fewer triangles; `reference` draws as LIBERO ships. Pictures differ a little; the physics must
# not differ at all.

# %%
reference = LiberoEnv(replace(env.config, profile="reference"), 0)
part = episode.actions[middle : middle + CHUNK]
seconds, shown, states = {}, {}, {}
for name, one in {"fast": env, "reference": reference}.items():
    one.restore(episode.sim_states[middle])
    began = time.perf_counter()
    shown[name] = np.stack([one.step(action).frame for action in part])
    seconds[name], states[name] = time.perf_counter() - began, one.sim_state()
print(f"SSIM {ssim(shown['fast'], shown['reference']):.3f}; ", end="")
print(f"a step took {seconds['reference'] / seconds['fast']:.1f} times as long with LIBERO's own pictures")
assert np.array_equal(states["fast"], states["reference"]), "the renderer touched the physics"
reference.close()
episode_plots.pictures({name: upright(frames[-1]) for name, frames in shown.items()}, width=300)

# %% [markdown]
# ## The doctor
#
# Somebody hands you a dataset. Are its pictures the right way up, does +1 close, does row $t$ lead *from* picture $t$?
# `wovr doctor data PATH` looks at how the arm moves under the actions and tells. Here we break our own episodes, one
# convention at a time, and let it find out.

# %%
episodes = [episode, *(run_expert_episode(env, seed, ExpertConfig()) for seed in range(2, CLIPS + 1))]
clips = [Clip(e.id, e.frames, e.actions, e.task.instruction, task=e.task.task, fps=FPS) for e in episodes]
sights = [see(clip, Conventions()) for clip in clips]
negated = np.array([1, 1, 1, 1, 1, 1, -1], np.float32)
damage = {
    "nothing": lambda s: s,
    "turned by 180°": lambda s: replace(s, frames=s.frames[:, ::-1, ::-1]),
    "flipped upside down": lambda s: replace(s, frames=s.frames[:, ::-1]),
    "gripper inverted": lambda s: replace(s, actions=s.actions * negated),
    "actions one row late": lambda s: replace(s, actions=np.concatenate([s.actions[:1], s.actions[:-1]])),
    "blue for red": lambda s: replace(s, frames=s.frames[..., ::-1]),
}
tasks = libero_suites.tasks(env.task.suite)
diagnoses = {name: diagnose([harm(s) for s in sights], tasks=tasks) for name, harm in damage.items()}


# %%
def look(broken):
    frames = np.ascontiguousarray(damage[broken](sights[0]).frames[episode.length // 2])
    display(Image(png_bytes(np.repeat(np.repeat(frames, 192 // SIZE, 0), 192 // SIZE, 1))))
    for finding in diagnoses[broken].findings:
        print(f"{finding.fault}: {finding.advice}\n   because {finding.evidence}")
    print("" if diagnoses[broken].findings else "sound: nothing to say")


_ = ipywidgets.interact(look, broken=ipywidgets.Dropdown(options=list(damage), value="turned by 180°"))
# %%
faults = ("", "rotation", "rotation", "gripper_sign", "action_shift", "channel_order")
expected = dict(zip(damage, faults, strict=True))
for name, fault in expected.items():
    found = [finding.fault for finding in diagnoses[name].findings]
    print(f"{name:22} -> {', '.join(found) or 'sound'}")
    assert found == ([fault] if fault else []), name

# %% [markdown]
# What the doctor does *not* show: it knows cameras that look at the robot from the front, and needs an arm that moves
# under its actions. A policy trained on turned pictures fails silently; an hour with this table is cheaper.
#
# Next: [a world model that follows actions](02_world_model.ipynb).
