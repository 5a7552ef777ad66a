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
# # A first look at a run
#
# A robot policy practised inside a *learned video simulator*, the world model. This notebook opens one run, shows how
# the training went, scrubs through what was imagined beside what really happened, changes one decision of the policy
# to see what the world model makes of it, and ends with the question that matters: can imagined successes be believed?
#
# It opens the run that the environment variable `WOVR_RUN` names, else the newest whole run of the recipe `demo` under
# `WOVR_HOME` (`wovr demo` makes one in about 12 minutes), else the starter pack: a real demo run made small.

# %%
import os

from workbench import plots
from workbench.branch import branch, reopen, side_by_side
from workbench.film_strips import as_seen
from workbench.run_data import RunData
from workbench.starter.unpack import demo_run
from workbench.widgets import Scrubber
from wovr_core.run_folder import resolve_run
from wovr_core.statistics import format_rate
from wovr_core.types import CHUNK

whole = ("sft", "world_model", "rl", "rl_evolved", "imagine", "audit", "evaluate")
run = RunData(resolve_run(os.environ["WOVR_RUN"]) if "WOVR_RUN" in os.environ else demo_run(stages=whole))
print(f"{run.name}: recipe {run.description['recipe']}, {len(run.stages)} stages finished")

# %% [markdown]
# ## How the training went
#
# The base policy imitates demonstrations; the world model learns to predict frames from actions; then the policy
# improves by masked GRPO on what the world model imagines.

# %%
plots.curve(run.metrics("sft", "training"), {"loss": "cross-entropy"}, "Base policy: imitation", "loss")

# %%
plots.closed_loop_quality(run.outputs("world_model")["quality"])

# %%
rl = [
    line | {"step": i}
    for i, line in enumerate(run.metrics("rl", "training") + run.metrics("rl_evolved", "training"), 1)
]
plots.curve(rl, {"imagined_success_rate": "imagined success"}, "Masked GRPO in imagination", "share", x="update")

# %% [markdown]
# Real success, on LIBERO's own initial states, before and after. With this few trials the intervals are wide.

# %%
stages = {"evaluate_base": "base policy", "evaluate": "after RL in imagination"}
rates = {label: (run.outputs(s)["successes"], run.outputs(s)["trials"]) for s, label in stages.items()}
plots.success_rates(rates, "Real success")

# %% [markdown]
# ## Imagined beside real
#
# Of the audited rollouts, the most telling one: a false success if there is one, else the one that diverges most. The
# scrubber shows the simulator executing exactly the imagined rollout's actions (left), what was imagined (middle), and
# the difference. Arrow keys step, `Space` plays, `?` lists every key. Mark a stretch with `I` and `O`: it is saved
# beside the run, and the app (`wovr app`) shows it too.

# %%
rows = sorted(
    run.audit_rows(), key=lambda r: (not (r["imagined_success"] and not r["real_success"]), -max(r["divergence"]))
)
rollout, replay = run.rollout(rows[0]["rollout_id"]), run.replay(rows[0]["rollout_id"])
print(f"“{rollout.task.instruction}”, from {rollout.start.episode_id} frame {rollout.start.step}")
Scrubber(as_seen(rollout), as_seen(replay), log=run.path / "annotations.jsonl")

# %% [markdown]
# ## What if?
#
# Take one chunk of eight actions in the middle of the rollout, replace it by lifting the arm with the gripper open, and
# imagine again with the same noise. Frames before the change stay; every difference after it was caused by the actions.
# A world model that ignores actions would show none.

# %%
chunk = len(rollout.actions) // CHUNK // 2
lifted = rollout.actions[chunk * CHUNK : (chunk + 1) * CHUNK] * 0
lifted[:, 2], lifted[:, 6] = 1.0, -1.0  # up; gripper open
other = branch(reopen(run, rollout), rollout, chunk, lifted)
Scrubber(side_by_side(rollout, other))

# %% [markdown]
# ## Can imagined successes be believed?
#
# Every imagined rollout's actions were executed in the simulator. A *false success* was imagined only. A rate stands
# with its 95 % interval (Wilson); each thin line below is one rollout, false successes in red.

# %%
audit = run.outputs("audit")
print("false among imagined successes:", format_rate(*audit["false_success"]))
for depth, rate in audit["by_depth"].items():
    print(f"  imagined after {depth} actions:", format_rate(*rate))
print("real successes among imagined failures:", format_rate(*audit["false_failure"]))

# %%
plots.divergence(run.all_audit_rows())

# %% [markdown]
# Next: what all this is made of: [LIBERO episodes and their conventions](01_libero_episodes.ipynb). And `wovr app`
# shows all rollouts of all runs with filters, and keeps what you flag.
