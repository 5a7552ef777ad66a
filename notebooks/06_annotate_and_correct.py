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
# # Annotate and correct
#
# You have seen the world model lie. What now? Flag the frames where it happens, and let the flag do three things at once:
#
# | part | what it learns from a flagged span |
# |---|---|
# | reward classifier | these frames are *no* success (or, for a missed success, are one) |
# | policy (RL) | steps that lead to the first hallucinated frame and on do not count in the loss |
# | world model | what the same actions *really* led to, drawn more often around the span |
#
# This notebook flags by hand and by program, looks at what each part gets, rebuilds it byte for byte, retrains the reward
# classifier for a few seconds, and measures on flagged frames that nothing was learned from.
#
# It works on a copy of the small run that comes with the package, so nothing of yours is changed.

# %%
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from workbench import correction_plots, plots
from workbench.branch import keyframe_of
from workbench.corrections import CorrectionsConfig, Source, make, remake, source_of
from workbench.film_strips import as_seen
from workbench.flags import annotation_minutes, audit_flags, logged_flags
from workbench.run_data import RunData
from workbench.scrubber.history import VersionConflictError
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.starter.unpack import unpack
from workbench.widgets import Scrubber
from wovr_core.config import from_dict
from wovr_core.data.episode_files import SUFFIX, EpisodeSet, read_rollout
from wovr_core.data.keyframe_files import write_keyframes
from wovr_core.envs.pool import EnvPool
from wovr_core.files import read_json, wovr_home
from wovr_core.instructions import embed_tensor
from wovr_core.model_files import REWARD, load_reward, load_world_model, save_model
from wovr_core.recipes import Recipe
from wovr_core.reward.corrected_labels import label_corrections
from wovr_core.stages import audit, imagine, measure_corrections, train_reward
from wovr_core.stages.folder import StageFolder
from wovr_core.stages.imagine import Simulator
from wovr_core.statistics import format_rate

# WOVR_NOTEBOOK_FAST=1 runs the same code with smaller numbers, to try it out in seconds.
FAST = os.environ.get("WOVR_NOTEBOOK_FAST") == "1"
SIBLINGS = 4 if FAST else 10  # rollouts of a group
CHUNKS = 8  # of 8 actions each
STEPS = 25 if FAST else 120  # of the reward's retraining

work = wovr_home() / "notebooks" / "06_annotate_and_correct"
shutil.rmtree(work, ignore_errors=True)  # an earlier execution of this notebook
run = unpack(runs=work).path
data = RunData(run)
recipe = from_dict(Recipe, data.description["config"], "run.json")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

# %% [markdown]
# ## Look, and flag
#
# A false success: imagined, but not so when the simulator executes the same actions. Step with the arrow keys until the
# imagined picture (middle) leaves the real one (left). Mark the stretch with `I` and `O`, then press 8 for *false
# success*. The bar is there at once: it is on the disk, beside the run, before you see it. Ctrl+Z takes it back.

# %%
rows = data.audit_rows()
false = next(row for row in rows if row["imagined_success"] and not row["real_success"])
rollout, replay = data.rollout(false["rollout_id"]), data.replay(false["rollout_id"])
Scrubber(as_seen(rollout), as_seen(replay), log=run / LOG_NAME, author="you")

# %% [markdown]
# So that this notebook also runs alone, the same by program: an edit names its span and the version that it was made on.

# %%
log = SpanLog(run / LOG_NAME)


def put(name, author, version, first, last, label="teleports", severity=2):
    span = {"id": name, "start": first, "end": last, "label": label, "severity": severity, "note": ""}
    edit = {"event": f"{name}-{author}-{version}", "op": "put", "version": version, "span": span}
    return log.append(edit, rollout=rollout.id, author=author, frames=len(rollout.frames))


depth = int(false["depth"])
put("jump", "you", 1, max(depth - 6, 1), depth)
for span in log.spans(rollout.id):
    print(f"{span.label:15s} frames {span.start:2d} to {span.end:2d}, by {span.author}")

# %% [markdown]
# The audit flags what it finds by itself (author `audit`); people overrule it.
#
# ## Two people, one span
#
# Ann and Ben open the same rollout. Ann moves the span's begin. Ben, who still sees the first version, moves its end. An
# edit is never overwritten in silence: Ben's is refused, and says who changed what meanwhile.

# %%
put("jump", "ann", 2, max(depth - 10, 1), depth)
try:
    put("jump", "ben", 2, max(depth - 6, 1), depth + 4)
    raise AssertionError("it should have been refused")
except VersionConflictError as conflict:
    print(conflict)

jump = next(span for span in log.spans(rollout.id) if span.id == "jump")
assert (jump.author, jump.version) == ("ann", 2)

# %% [markdown]
# ## From flags to a set of corrections
#
# A set is a folder of its own, named by the digest of its content. Nothing in it is ever changed.

# %%
flags = logged_flags(run, source_of(run))
made = make(source_of(run), flags, CorrectionsConfig(), run / "corrections")
print(f"version {made.version}, from {len(flags)} flags:", made.manifest["provenance"]["counts"])
correction_plots.timeline(made)

# %% [markdown]
# For the rollout above: red frames are negatives of the reward, grey steps are left out of the policy's loss (from the
# first flagged frame on, because what follows was imagined from it), and around the span (blue) the world model sees the
# real course more often.

# %%
mine = next(c for c in made.corrections if c.rollout == rollout.id)
real, imagined = label_corrections(made)
left_out = len(rollout.actions) - mine.masked_from + 1
print(f"masked from frame {mine.masked_from}: {left_out} of {len(rollout.actions)} steps are left out")
negative, positive = int((~real.labels).sum()), int(real.labels.sum())
print(f"reward, all rollouts: {negative} negative and {positive} positive frames")
assert mine.masked_from == min(
    f.first for f in flags if f.rollout == rollout.id and f.label != "missed_success"
)
assert len(real.labels) == len(imagined.labels)  # each instant twice: as it was, and as it was imagined
correction_plots.window_weights(made, rollout.id)

# %% [markdown]
# A set remembers the annotations that it was made of. Made again from them, it has the same bytes: whoever doubts a model
# can check what it was corrected with.

# %%
again = remake(source_of(run), made, work / "again")
files = sorted(p.relative_to(made.folder) for p in made.folder.rglob("*") if p.is_file())
assert all((made.folder / f).read_bytes() == (again.folder / f).read_bytes() for f in files)
print(f"{len(files)} files, equal byte for byte")

# %% [markdown]
# ## Does it help?
#
# Four rollouts cannot answer that. From two of their starts, imagine more siblings, execute all of them in the simulator
# (that takes the longest here), and let the audit flag. Half of them are corrected; the other half is only for measuring.

# %%
simulator = Simulator(
    Path(data.outputs("rl_evolved")["policy"]),
    Path(data.outputs("refine")["world_model"]),
    Path(data.outputs("refine")["reward"]),
)
wrong, sound = (
    data.rollout(row["rollout_id"]) for row in (false, next(r for r in rows if r["real_success"]))
)
# Three groups from where it lied, one from where it did not.
starts = [keyframe_of(wrong)] * 3 + [keyframe_of(sound)]
version = write_keyframes(work / "starts.safetensors", starts)
config = imagine.ImagineConfig(starts=len(starts), group_size=SIBLINGS, chunks=CHUNKS, solver_steps=1)
inputs = imagine.ImagineInputs(simulator, str(work / "starts.safetensors"), version, seed=3)
rollouts = imagine.run(config, inputs, work / "imagine")
with EnvPool(workers=0) as pool:
    audit_inputs = audit.AuditInputs(recipe.env, rollouts.rollouts, rollouts.version, pool)
    audited = audit.run(recipe.audit, audit_inputs, work / "audit")
print("false among imagined successes:", format_rate(*audited.false_success))
print("real among imagined failures:  ", format_rate(*audited.false_failure))

# %%
source = Source(Path(rollouts.rollouts), Path(audited.episodes))
rows = read_json(Path(audited.rows))
flags = audit_flags(source, rows, recipe.keyframes.divergence_threshold or 12.0)
flagged = {row["rollout_id"] for row in rows if row["imagined_success"] and not row["real_success"]}
names = sorted((row["rollout_id"] for row in rows), key=lambda name: (name not in flagged, name))
learned, held_out = names[::2], names[1::2]  # false successes are shared out evenly
corrections = make(source, flags, CorrectionsConfig(), work / "corrections", only=learned)
minutes = annotation_minutes(
    [CHUNKS * 8 + 1] * len(learned), len([f for f in flags if f.rollout in learned])
)
shares = len(flagged & set(learned)), len(flagged & set(held_out))
print(
    f"{len(flags)} flags; {len(corrections.corrections)} rollouts corrected: a person takes {minutes} min"
)
print(f"{shares[0]} false successes are learned from, {shares[1]} held out")
assert not {c.rollout for c in corrections.corrections} & set(held_out)

# %% [markdown]
# Retrain the reward classifier with these corrections beside the run's own episodes and the learned half's replays. Its
# threshold stays as it was, so that before and after are comparable.

# %%
episodes = [*EpisodeSet(run / "collect" / "episodes"), *EpisodeSet(run / "audit" / "episodes")]
episodes += [EpisodeSet(Path(audited.episodes)).read(name) for name in learned]
world_model, _ = load_world_model(simulator.world_model)
reward, calibration, parent = load_reward(simulator.reward)
tuning = replace(recipe.reward, steps=STEPS, batch=32, learning_rate=1e-3)
folder = StageFolder(
    work / "retrain", "reward", tuning, {"reward": parent, "corrections": corrections.version}
)
train_reward.fit(folder, reward, world_model, episodes, tuning, seed=0, corrections=corrections)
lineage = {"parent": parent, "corrections": corrections.version}
save_model(
    work / "retrain" / "reward",
    REWARD,
    reward,
    lineage=lineage,
    extra={"calibration": calibration.to_dict()},
)
corrected = replace(simulator, reward=work / "retrain" / "reward")

# %% [markdown]
# What the classifier says of the falsely successful frames, before and after: of those that it learned from, and of those
# that it did not.


# %%
def p_success(path, wanted):
    judge, told = load_reward(path)[0].reward_function(embed_tensor), []
    for flag in flags:
        if flag.label == "false_success" and flag.rollout in wanted:
            seen = read_rollout(source.rollouts / f"{flag.rollout}{SUFFIX}")
            frames = torch.from_numpy(seen.frames[flag.first : flag.last + 1])
            told += judge(frames, [seen.task.instruction] * len(frames)).tolist()
    return np.array(told)


groups = {"learned": learned, "held out": held_out}
states = {"before": simulator.reward, "after": corrected.reward}
told = {(g, when): p_success(path, groups[g]) for g in groups for when, path in states.items()}
passing = {}
for (group, when), p in told.items():
    if len(p):
        passing[f"{group}, {when}"] = (int((p >= calibration.threshold).sum()), len(p))
        print(f"{group}, {when}: mean p = {p.mean():.2f} over {len(p)} frames")
figure = plots.success_rates(passing, "Falsely successful frames that still pass for a success")
figure.update_yaxes(title="frames that pass (%)")

# %% [markdown]
# Frames of one rollout are alike, so those intervals are too narrow. What counts are rollouts, and what it costs: a
# classifier that calls everything a failure has no false successes either.

# %%
for when, models in (("before", simulator), ("after", corrected)):
    false = tuple(flagged & set(held_out))
    inputs = measure_corrections.MeasureInputs(
        models, rollouts.rollouts, audited.episodes, rollouts.version, tuple(held_out), false, seed=0
    )
    m = measure_corrections.run(measure_corrections.MeasureConfig(), inputs, work / f"measure_{when}")
    area = "none" if m.reward_auroc is None else f"{m.reward_auroc:.2f}"
    print(f"{when}: AUROC over frames {area}")
    print(f"    failures taken for successes {format_rate(*m.reward_false_positives)}")
    print(f"    successes recognised         {format_rate(*m.reward_true_positives)}")

if len(told["learned", "before"]):
    assert told["learned", "after"].mean() < told["learned", "before"].mean() - 0.1

# %% [markdown]
# Read the last lines with care. They are about two starts of one task, with siblings of the very rollouts that were
# corrected: the easiest held-out set there is. That the learned frames are now rejected shows that the flags arrive;
# whether RL in imagination gets better by it is another question, for which `wovr reproduce corrections` has an arm with
# flags, one with as many unflagged rollouts, and one with neither.
#
# In the app the same is one page: *Review*, from the flag to the retraining and the rollout imagined again. On the command
# line: `wovr correct RUN`, then `wovr refine RUN --corrections VERSION`.
#
# Next: [evaluating on a robot](07_robot_evaluation.ipynb).
