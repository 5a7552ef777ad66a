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
# # Is the new policy better? Evaluating on a robot
#
# "28 of 30 trials succeeded." What is that worth? It depends on what nobody writes into the table: who decided when a
# trial counts, who knew which policy was running, which trials were left out, and whether anybody looked at the result
# before deciding to stop.
#
# This notebook runs a whole evaluation by the protocol that `wovr robot` follows, in a *simulated lab*: LIBERO behind
# the interface of a real arm. Then it asks the two questions that come before any trial: how many are needed, and may
# one look at the result while they run?

# %%
import json
import os
import shutil

import ipywidgets
import numpy as np
from IPython.display import HTML

from workbench import trial_plots
from workbench.robot_report import write_robot_report
from workbench.robot_station import LabSettings, actors, contestant, plan_in_lab
from wovr_core.errors import WovrError
from wovr_core.files import wovr_home
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.operators import LabOperator
from wovr_core.robots.evaluation.plan import ProtocolConfig
from wovr_core.robots.evaluation.power import power, rejected_by, trials_needed
from wovr_core.robots.evaluation.sequential import rejection_rate
from wovr_core.robots.evaluation.session import Station, run_session
from wovr_core.robots.evaluation.statistics import barnard, difference
from wovr_core.robots.lab import SimulatedLab
from wovr_core.robots.runner import RunnerConfig
from wovr_core.statistics import format_rate, proportion_interval

# WOVR_NOTEBOOK_FAST=1 runs the same code with smaller numbers, to try it out in seconds.
FAST = os.environ.get("WOVR_NOTEBOOK_FAST") == "1"
TRIALS = 2 if FAST else 10  # of each policy
STEPS = 90 if FAST else 140  # actions of a trial
REPETITIONS = 400 if FAST else 4000  # simulated evaluations
CURVE = range(10, 61, 25) if FAST else range(5, 101, 5)

# %% [markdown]
# ## What k of n says
#
# A rate is never known, only estimated. For $k$ successes of $n$ trials with rate $p$, Wilson's interval holds the $p$
# for which the observed rate is not more than $z = 1.96$ standard errors away,
#
# $$\left|\tfrac{k}{n} - p\right| \le z \sqrt{p\,(1 - p) / n},$$
#
# and Clopper and Pearson's the $p$ that neither one-sided binomial test at 2.5 % rejects. The second never covers less
# than 95 %, and pays for that in width. Below: the real-robot results of the WoVR paper (arXiv 2602.13977), 30 trials
# each.

# %%
paper = {
    "banana, before": (14, 30),
    "banana, after": (28, 30),
    "bread, before": (23, 30),
    "bread, after": (27, 30),
}
trial_plots.both_intervals(
    dict(reversed(paper.items())), "The paper's arm: success, with two 95 % intervals"
)

# %%
for task in ("banana", "bread"):
    before, after = paper[f"{task}, before"], paper[f"{task}, after"]
    points, low, high = (100 * v for v in difference(before, after))
    print(
        f"{task}: {points:+.0f} points [{low:+.0f}, {high:+.0f}], "
        f"Barnard's exact test p = {barnard(before, after):.2g}"
    )

assert barnard(paper["banana, before"], paper["banana, after"]) < 0.01
assert barnard(paper["bread, before"], paper["bread, after"]) > 0.05

# %% [markdown]
# Thirty trials settle the banana. They do not settle the bread: its interval holds zero. That does not say that the
# policies are equal; it says that this evaluation could not tell.
#
# Move the sliders. How wide is the interval of 5 of 5?


# %%
def show(successes=5, trials=5):
    return trial_plots.both_intervals({"yours": (min(successes, trials), trials)})


_ = ipywidgets.interact(show, successes=(0, 100), trials=(1, 100))

# %% [markdown]
# ## Declare, then run
#
# A plan is written before the first trial, and never changed. Trials come in *blocks*: one initial condition, each
# policy once, in a hidden order. The schedule is public. Who acts in which trial is in an envelope, to which the plan
# commits by a digest.
#
# Two policies of the lab compete: the scripted demonstrator, and one that stops halfway in about half of its trials.

# %%
folder = wovr_home() / "notebooks" / "07_robot_evaluation"
shutil.rmtree(folder, ignore_errors=True)  # an earlier execution of this notebook
protocol = ProtocolConfig(trials=TRIALS, second_labels=0.5, runner=RunnerConfig(max_steps=STEPS))
contestants = [contestant("base=clumsy"), contestant("new=scripted")]
evaluation = plan_in_lab(
    "notebook", contestants, LabSettings(), protocol, range(TRIALS), folder / "lab"
)
print("plan", evaluation.digest)
for trial in evaluation.plan.schedule[:6]:
    second = "second label from the film" if trial.second_label else ""
    print(
        f"trial {trial.number}: block {trial.block}, initial condition {trial.condition:2d}, sealed  {second}"
    )

# %% [markdown]
# Now the trials. The operator sets up the scene by its initial picture and labels the outcome, without knowing who
# acts; in the simulated lab LIBERO's own predicate stands in for the operator, and the record says so.

# %%
settings = LabSettings()
with SimulatedLab(settings.config()) as lab:
    made = actors(lab, evaluation.plan.contestants, settings.temperature)
    station = Station(lab, lab.camera, made, LabOperator(lab), lab.clock, lab)
    done = run_session(evaluation, station, told=print)
assert done == 2 * TRIALS

# %% [markdown]
# ## What the protocol refuses
#
# Unblinding before all labels are in would let names colour the labels. Half of the trials also want a second label,
# by another person, from the film alone. Nothing is told before.


# %%
def refusal(act, *arguments):
    try:
        act(*arguments)
    except WovrError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("it should have been refused")


print(refusal(evaluation.unblind, "ann"))
print(refusal(write_robot_report, evaluation))

# %% [markdown]
# Ann watches the films (`videos/*.mp4`). Here she agrees with the operator each time but the first, so that you see what
# becomes of a disagreement: it is listed, and the operator's label counts, as declared.

# %%
twice = [t for t in evaluation.standing().trials if t.scheduled.second_label]
for position, trial in enumerate(twice):
    verdict = bool(trial.success) if position else not trial.success
    evaluation.label(trial.scheduled.number, "ann", verdict, role="video")
evaluation.unblind("ann")
page, data = write_robot_report(evaluation)
report = json.loads(data.read_text())
disagreements, exclusions = len(report["disagreements"]), len(report["exclusions"])
print(f"{disagreements} disagreement, {exclusions} exclusions, {page.name} written")

# %%
counts = {p["name"]: (p["successes"], p["trials"]) for p in report["policies"]}
trial_plots.both_intervals(counts, "The simulated lab, unblinded")

# %%
for name, (k, n) in counts.items():
    print(f"{name:7s}", format_rate(k, n))
found = report["comparison"]
points, (low, high) = 100 * found["difference"], (100 * v for v in found["newcombe"])
print(
    f"{found['second']} - {found['first']}: {points:+.0f} points [{low:+.0f}, {high:+.0f}], "
    f"p = {found['barnard_p']:.2g}"
)
print("declared different" if found["different"] else "not enough to call them different")
assert counts["new"][0] >= counts["base"][0]

# %% [markdown]
# Trials that disappear are the oldest way to a good result. Take a copy, and lose one film; or change one word in the
# records. Each line of the records carries the digest of the one before, so both are noticed.

# %%
lost = Evaluation(shutil.copytree(evaluation.folder, folder / "lost"))
next((lost.folder / "videos").glob("*.mp4")).unlink()
print(refusal(write_robot_report, lost))

changed = Evaluation(shutil.copytree(evaluation.folder, folder / "changed"))
text = changed.log.path.read_text()
changed.log.path.write_text(text.replace('"success":true', '"success":false', 1))
assert changed.log.path.read_text() != text
print(refusal(write_robot_report, changed))

# %% [markdown]
# ## How many trials?
#
# The *power* is the probability that the test finds a difference that is there. It is exact here: the sum over all
# outcomes $(k, j)$ that the test rejects,
#
# $$\sum_{p(k, j) \le \alpha} \binom{n}{k} a^k (1 - a)^{n - k} \binom{n}{j} b^j (1 - b)^{n - j}.$$

# %%
pairs = {"47 to 93 %": (0.467, 0.933), "77 to 90 %": (0.767, 0.90), "40 to 60 %": (0.40, 0.60)}
trial_plots.power_curves(pairs, CURVE)

# %%
banana, bread = power(pairs["47 to 93 %"], 30), power(pairs["77 to 90 %"], 30)
print(f"with 30 trials: {banana:.0%} for the banana's difference, {bread:.0%} for the bread's")
needed = trials_needed(pairs["40 to 60 %"], candidates=range(80, 121, 5))
print(f"for 40 to 60 %, 80 % power takes {needed} trials of each policy")
assert banana > 0.9 and bread < 0.5

# %% [markdown]
# So before you book the robot: guess both rates, and read off the number. And notice what 20 trials of each policy
# cannot see.


# %%
def plan_trials(before=40, after=80):
    needed = trials_needed((before / 100, after / 100), candidates=range(5, 61, 5))
    return HTML(
        f"<b>{needed or 'more than 60'}</b> trials of each policy for 80 % power at alpha = 0.05"
    )


_ = ipywidgets.interact(
    plan_trials,
    before=ipywidgets.IntSlider(40, 0, 100, 5, continuous_update=False),
    after=ipywidgets.IntSlider(80, 0, 100, 5, continuous_update=False),
)

# %% [markdown]
# ## May I look while it runs?
#
# Looking after every pair of trials, and stopping as soon as $p \le 0.05$, is a different test: it has many chances to
# be wrong. Simulate two policies that are *equal*, and count how often each way of looking has called them different.
#
# The sequential test is made for looking. After each block it multiplies an e-value, whose expectation is at most 1
# if the policies are equal, and stops when the product reaches $1/\alpha$; by Ville's inequality that happens with
# probability at most $\alpha$, however often one looks.

# %%
generator = np.random.default_rng(0)
equal = generator.random((REPETITIONS, 40, 2)) < 0.5
curves = {test: rejected_by(equal, 0.05, test) for test in ("peeking", "sequential")}
trial_plots.false_alarms(curves, 0.05)

# %%
for name, curve in curves.items():
    wrong = format_rate(round(curve[-1] * REPETITIONS), REPETITIONS)
    print(f"{name:10s} after 40 pairs, false alarms: {wrong}")
assert curves["peeking"][-1] > 0.10 > 0.06 > curves["sequential"][-1]

# %% [markdown]
# What does the sequential test cost, and what does it save? With the paper's two differences, at most 60 pairs:

# %%
for name, rates in list(pairs.items())[:2]:
    share, blocks = rejection_rate(rates, 60, 0.05, generator, REPETITIONS)
    low, high = proportion_interval(round(share * REPETITIONS), REPETITIONS)
    print(
        f"{name}: found in {share:.0%} [{low:.0%}, {high:.0%}], after {blocks:.0f} of 60 pairs on average; "
        f"Barnard after all 60: {power(rates, 60):.0%}"
    )

# %% [markdown]
# A large difference ends the evaluation early; a small one is found less often than by a fixed number of trials. That is
# the price of being allowed to look. Declare which one it is before the first trial: `--sequential` of `wovr robot plan`.
#
# What this notebook does not show: an arm. The lab places objects to the bit, and its operator never tires. The protocol
# is the same on a Franka ([the evaluation protocol](../docs/robot/evaluation.md)); its resets, its lighting and its
# faults are not.
#
# Next: [your own data, your own checkpoint](08_your_own_data.ipynb).
