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
# # Your own data, your own checkpoint
#
# You have demonstrations that another program recorded, or a policy that you trained elsewhere. What goes wrong first is
# never the method. It is a gripper that opens with +1, a picture that stands on its head, an action that is one row late.
# A policy trained on such data learns, and its loss falls. It just does the wrong thing.
#
# This notebook makes a small foreign dataset with two such faults, has the *convention doctor* find them, imports it,
# trains small models on it, and exports it again. Then a checkpoint comes in, with the messages you get when it does not
# fit.

# %%
import dataclasses
import os
import shutil
from pathlib import Path

import h5py
import ipywidgets
import numpy as np
import torch
from IPython.display import Image
from safetensors.torch import save_file

from workbench import plots
from workbench.film_strips import film_strip, png_bytes
from wovr_core import recipes
from wovr_core.data.doctor import diagnose, see
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.formats.base import clips
from wovr_core.data.formats.conventions import merge
from wovr_core.data.formats.lerobot_write import LeRobotConfig, LeRobotWriter
from wovr_core.data.formats.sandbox import Sandbox, SandboxedReader
from wovr_core.envs import libero_suites
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home
from wovr_core.model_files import POLICY, load_policy, save_model
from wovr_core.policy.own_weights import load_own
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.stages import collect, import_episodes, preflight, train_policy_sft, train_world_model
from wovr_core.stages.folder import read_metrics
from wovr_core.types import NULL_ACTION

# WOVR_NOTEBOOK_FAST=1 runs the same code with smaller numbers, to try it out in seconds.
FAST = os.environ.get("WOVR_NOTEBOOK_FAST") == "1"
DEMONSTRATIONS = 4 if FAST else 10
SIZE = 64  # pixels
SFT_STEPS = 40 if FAST else 300
WORLD_MODEL_STEPS = 10 if FAST else 150

work = wovr_home() / "notebooks" / "08_your_own_data"
shutil.rmtree(work, ignore_errors=True)  # an earlier execution of this notebook
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

# %% [markdown]
# ## A foreign dataset
#
# The scripted demonstrator solves one LIBERO task a few times. We write that down as somebody else might: LIBERO's HDF5
# layout, but with pictures *as people see them* (LIBERO stores them upside down), and a gripper that *opens* with +1. It
# is how your own converter would look, too.

# %%
env = LiberoConfig(suite="libero_object", size=SIZE, view="full")
with EnvPool(workers=0) as pool:
    inputs = collect.CollectInputs(env, (0,), 7, pool)
    made = collect.run(collect.CollectConfig(clean=DEMONSTRATIONS, faulty=0), inputs, work / "recorded")
originals = list(EpisodeSet(Path(made.episodes)))
print(f"{made.count} demonstrations, {made.steps} steps, {made.successes} successes")
print(originals[0].task.instruction)


# %%
def write_their_way(path, episodes):
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        for i, episode in enumerate(episodes):
            demo = file.create_group(f"data/demo_{i}")
            demo["actions"] = episode.actions * [1, 1, 1, 1, 1, 1, -1]  # their +1 opens
            demo["obs/agentview_rgb"] = episode.frames[:-1, :, ::-1]  # ours is mirrored
            demo["rewards"] = episode.success[1:].astype(np.uint8)


name = originals[0].task.instruction.replace(" ", "_")
theirs = work / "libero_object" / f"{name}_demo.hdf5"
write_their_way(theirs, originals)
print(f"{theirs.name}: {theirs.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## Ask the doctor before you import
#
# Foreign files are parsed in a process of its own, with bounded memory and time. The doctor measures how the picture
# moves under the actions (optical flow): in our convention an action to the robot's left moves the arm to the left of the
# picture, an action up moves it up, and each action moves the picture *after* it.

# %%
sandbox = Sandbox()
reader = SandboxedReader("libero", theirs, {}, sandbox)
foreign = list(clips(reader))
as_read = merge(foreign[0].conventions, {})
tasks = libero_suites.tasks("libero_object")
diagnosis = diagnose([see(clip, as_read) for clip in foreign], as_read, tasks)
for finding in diagnosis.findings:
    print(f"{finding.fault}: {finding.advice}\n    because {finding.evidence}")

assert {finding.fault for finding in diagnosis.findings} == {"gripper_sign", "rotation"}

# %% [markdown]
# Above: the pictures as they would be imported without asking. Below: with the doctor's corrections.

# %%
before, after = see(foreign[0], as_read), see(foreign[0], diagnosis.conventions)
Image(png_bytes(film_strip([before.frames, after.frames], count=8)))

# %% [markdown]
# Break something else and see what it says. (`wovr doctor data PATH` does the same from the command line, writes a page
# with the evidence, and prints the flags to import with.) Where a few clips show too little, it says so rather than guess.

# %%
FAULTS = {
    "none": lambda s: s,
    "blue for red": lambda s: dataclasses.replace(s, frames=s.frames[..., ::-1]),
    "one row late": lambda s: dataclasses.replace(s, actions=np.roll(s.actions, 1, axis=0)),
    "every other picture": lambda s: dataclasses.replace(
        s, frames=s.frames[::2], actions=s.actions[: len(s.actions) // 2 * 2 : 2]
    ),
}


def broken(fault="none", clip_count=len(foreign)):
    sound = [see(clip, diagnosis.conventions) for clip in foreign[:clip_count]]
    told = diagnose([FAULTS[fault](s) for s in sound], diagnosis.conventions, tasks)
    for line in [f"{f.fault}: {f.advice}" for f in told.findings] or ["nothing is the wrong way round"]:
        print(line)
    for reason in told.unclear:
        print("not to be told:", reason)


_ = ipywidgets.interact(broken, fault=list(FAULTS), clip_count=(1, len(foreign)))

# %% [markdown]
# ## Import
#
# With the doctor's changes, what comes out equals what was recorded, to the bit (but for each last step: this layout holds
# no picture of what it led to). What does not come along is the simulator's state, which no foreign format holds: such
# episodes can be trained on, but not audited.

# %%
changes = {key: value for finding in diagnosis.findings for key, value in finding.change.items()}
config = import_episodes.ImportConfig("libero", str(theirs), conventions=changes)
imported = import_episodes.run(
    config, import_episodes.ImportInputs(reader, {"libero_object": tasks}), work / "import"
)
sandbox.close()
episodes = list(EpisodeSet(Path(imported.episodes)))
for ours, original in zip(episodes, originals, strict=True):
    steps = len(ours.actions)
    assert np.array_equal(ours.frames, original.frames[: steps + 1])
    assert np.array_equal(ours.actions, original.actions[:steps])
    assert ours.sim_states is None
print(f"{imported.count} episodes, {imported.steps} steps, equal to what was recorded")
print("imported with", changes)

# %% [markdown]
# ## Train on it
#
# The stages do not care where episodes came from. A base policy by imitation, and a world model, both far too small and
# far too short: they show that the way is open, not that anything was learned well. (The autoencoder's line is the world
# model's ceiling only once both are trained.)

# %%
sft = train_policy_sft.PolicySFTConfig(
    TinyVLAConfig(image_size=SIZE, width=32, hidden=128),
    demonstrations=DEMONSTRATIONS,
    steps=SFT_STEPS,
    batch=16,
)
sft_inputs = train_policy_sft.PolicySFTInputs(imported.episodes, imported.version, seed=0)
policy = train_policy_sft.run(sft, sft_inputs, work / "sft")
lines = read_metrics(work / "sft" / "metrics.jsonl")
assert lines[-1]["loss"] < lines[0]["loss"]
plots.curve(lines, {"loss": "cross-entropy"}, "Imitation of the imported demonstrations", "loss")

# %%
smoke = recipes.smoke().world_model
codec = dataclasses.replace(smoke.model.codec, image_size=SIZE)
world_model = train_world_model.WorldModelTrainingConfig(
    model=dataclasses.replace(smoke.model, codec=codec),
    autoencoder=dataclasses.replace(smoke.autoencoder, steps=WORLD_MODEL_STEPS),
    transformer=dataclasses.replace(smoke.transformer, steps=WORLD_MODEL_STEPS),
    held_out=1,
    horizons=(8, 16),
    solver_steps=1,
)
wm_inputs = train_world_model.WorldModelInputs((imported.episodes,), (imported.version,), seed=0)
trained = train_world_model.run(world_model, wm_inputs, work / "world_model")
plots.closed_loop_quality(trained.quality)

# %% [markdown]
# ## Export
#
# As a LeRobotDataset v3.0, which `datasets` and LeRobot read; here with lossless pictures, so that the way back can be
# checked to the bit. The doctor has nothing to say about it.

# %%
out = work / "lerobot"
writer = LeRobotWriter(
    out, imported.version, [episodes[0].task.instruction], LeRobotConfig(pictures="image")
)
for episode in episodes:
    writer.write(episode)
writer.finish()
with Sandbox() as sandbox:
    back = list(clips(SandboxedReader("lerobot", out, {"camera": ""}, sandbox)))
steps = len(episodes[0].actions)
assert np.array_equal(back[0].frames[: steps + 1], episodes[0].frames)
assert np.allclose(back[0].actions[:steps], episodes[0].actions)
exported = diagnose([see(clip, back[0].conventions) for clip in back], back[0].conventions)
assert not exported.findings
print(*sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()), sep="\n")

# %% [markdown]
# ## Your own checkpoint
#
# Weights come in as safetensors, never as pickles. Suppose that yours were saved from a wrapper for distributed training,
# which puts `module.` before every name.

# %%
mine = work / "mine.safetensors"
network, _ = load_policy(Path(policy.policy))
save_file({f"module.{key}": value for key, value in network.state_dict().items()}, mine)


def attempt(**arguments):
    try:
        return load_own(mine, **arguments)
    except WovrError as error:
        print(f"{type(error).__name__}: {error}\n")


assert attempt(config=sft.policy) is None  # the prefix
assert attempt(config=dataclasses.replace(sft.policy, width=64), prefix="module.") is None  # shapes
assert attempt(config=dataclasses.replace(sft.policy, blocks=4), prefix="module.") is None  # blocks
own = attempt(config=sft.policy, prefix="module.")
assert own is not None

# %% [markdown]
# Saved as a checkpoint of the workbench it carries its configuration, a digest and its lineage, and commands take it like
# any other: `wovr robot plan NAME --policy mine=FOLDER ...`. It decides exactly as it did where it came from.

# %%
version = save_model(work / "mine" / "policy", POLICY, own, lineage={"weights": mine.name})
loaded, _ = load_policy(work / "mine" / "policy")
sight = torch.from_numpy(episodes[0].frames[:1])
words, still = [episodes[0].task.instruction], torch.from_numpy(NULL_ACTION[None])
there, here = (p.act(sight, words, still).actions for p in (network, loaded))
assert torch.equal(there, here)
print(f"policy {version}: {sum(p.numel() for p in loaded.parameters()):,} weights")
print("its first action:", here[0, 0].numpy().round(2))

# %% [markdown]
# ## Where the large recipes start
#
# The same classes, at the size of the paper or for one card of 24 GB. Before anything is downloaded or allocated, count
# what it takes. These are computed, not measured: nobody has run them on such a card yet.

# %%
for recipe, gpus, memory in (("gpu24", 1, 24), ("wan22_5b", 1, 80), ("wan22_5b", 8, 80)):
    counted = preflight.preflight(recipes.get(recipe).world_model, gpus, memory << 30, tflops=300)
    print(f"{recipe} on {gpus} x {memory} GB", *counted.lines(), "", sep="\n  ")

# %% [markdown]
# From the command line: `wovr import libero PATH --run mine`, `wovr run pipeline --run mine`, `wovr export lerobot`,
# `wovr world-model preflight`. Back to [the first look](00_first_look.ipynb).
