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
# # Keyframes, and masked GRPO by hand
#
# How does a policy learn from imagined rollouts? Several *siblings* begin at one start, the policy samples different
# actions in each, and whoever did better than the siblings' mean is made more likely. That is GRPO. WoVR adds where to
# **start** (keyframe-initialised rollouts, KIR) and what to **count** (nothing after the first success).
#
# Here we compute the loss of one group by hand, with numpy, line by line; then the library's, which must agree to
# $10^{-6}$; then its gradient; and at last we measure what KIR changes.
#
# About 3 minutes on 2 cores. With `WOVR_NOTEBOOK_FAST=1` there are fewer rollouts; the code is the same.

# %%
import os
from pathlib import Path

import ipywidgets
import numpy as np
import torch
from IPython.display import Image, display

from workbench import grpo_plots, plots
from workbench.film_strips import film_strip, png_bytes
from workbench.reproduce.stage_store import StageStore
from workbench.run_data import RunData
from workbench.starter.unpack import demo_run
from wovr_core import recipes
from wovr_core.config import from_dict
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.data.keyframes import KeyframeConfig
from wovr_core.data.segments import keyframe
from wovr_core.envs.pool import EnvPool
from wovr_core.files import wovr_home
from wovr_core.imagination import imagine_groups
from wovr_core.model_files import load_policy
from wovr_core.models_in_use import models_in_use
from wovr_core.rl.advantages import group_advantages, is_degenerate
from wovr_core.rl.group_batch import of_rollouts
from wovr_core.rl.grpo_loss import GRPOConfig, grpo_loss
from wovr_core.rl.loss_mask import step_weights
from wovr_core.run_folder import Run
from wovr_core.stages import collect, imagine, select_keyframes
from wovr_core.stages.train_policy_rl import PolicyRLConfig, batch_loss, is_informative
from wovr_core.statistics import difference_interval, format_rate
from wovr_core.types import ACTION_DIM

FAST = os.environ.get("WOVR_NOTEBOOK_FAST") == "1"
EPISODES = 2 if FAST else 8  # of the policy, for real
GROUPS = 6 if FAST else 16  # of each kind: from keyframes, and from beginnings
SIBLINGS = 4 if FAST else 8
CHUNKS = 9  # of each rollout
WORKERS = 0 if FAST else 2  # simulator processes; 0: this one

# %% [markdown]
# ## Where to start
#
# A world model's errors add up with depth ([notebook 03](03_hallucination.ipynb)), and success comes at the end. So
# begin near what decides: before the gripper closes, before it opens, before a failure's end. The policy acts for real
# a few times, and keyframes are drawn from what it met, failures above all.

# %%
models = RunData(demo_run(stages=("rl_evolved", "refine", "imagine", "audit")))
simulator = imagine.Simulator(**models_in_use(models.path))
recipe = from_dict(recipes.Recipe, models.description["config"], models.name)
with Run(wovr_home() / "notebooks" / "imagination", recipe) as run, EnvPool(WORKERS) as pool:
    acting = collect.CollectPolicyConfig(episodes=EPISODES, max_steps=160)
    given = collect.CollectInputs(recipe.env, recipe.tasks, 0, pool, simulator.policy)
    met = StageStore(run).stage("collect", collect.run_policy_episodes, acting, given)
    given = select_keyframes.KeyframeInputs((met.episodes,), (met.version,), simulator.world_model, 0)
    starts = KeyframeConfig(count=GROUPS, initial_share=0)
    chosen = StageStore(run).stage("keyframes", select_keyframes.run, starts, given)
print(f"{met.count} real episodes, {met.successes} of them successful")
print(f"{sum(chosen.reasons.values())} keyframes, {chosen.from_failures} from failures: {chosen.reasons}")

# %%
kir = read_keyframes(Path(chosen.keyframes))
episodes = list(EpisodeSet(Path(met.episodes)))
beginnings = [keyframe(episodes[i % len(episodes)], 0, "initial") for i in range(GROUPS)]
shown = np.stack([k.context_frames[-1] for k in (beginnings[0], *kir[:5])])
print("  |  ".join(f"{k.reason}, frame {k.start.step}" for k in (beginnings[0], *kir[:5])))
display(Image(png_bytes(film_strip([shown], count=6, scale=2))))

# %% [markdown]
# ## One group
#
# We imagine a group of siblings from every start, and pick the one in which outcomes differ most.

# %%
policy, _ = load_policy(simulator.policy)
env = imagine.make_env(simulator, 1, CHUNKS)
how = {"group_size": SIBLINGS, "chunks": CHUNKS, "temperature": 1.0, "discount": 0.995}
groups = [g for i, k in enumerate(kir) for g in imagine_groups(policy, env, [k], seed=i, **how)]
group = min(groups, key=lambda g: abs(np.mean(g.rewards > 0) - 0.5))
rollouts = group.rollouts
print(f"{group.id}: {np.sum(group.rewards > 0)} of {len(rollouts)} siblings imagine success")
assert not is_degenerate(torch.from_numpy(group.rewards)), "no group of these has siblings that end differently; imagine more of them"
display(Image(png_bytes(film_strip([r.frames for r in rollouts[:4]], count=8, scale=2))))

# %% [markdown]
# ## By hand
#
# **Return.** The classifier says success where $p \ge \tau$. The reward is 1 at the first success, after $n_i$ actions,
# and the rollout is over:
# $$R_i = \gamma^{\,n_i - 1}, \qquad R_i = 0 \text{ without success.}$$
#
# **Advantage.** Against the siblings' mean; no critic, no division by the deviation:
# $$\hat A_i = R_i - \tfrac1G \sum_j R_j$$

# %%
threshold, gamma = float(rollouts[0].info["success_threshold"]), 0.995
p = np.stack([r.p_success[1:] for r in rollouts])  # (G, T): the frame that each action led to
success = p >= threshold
n = np.where(success.any(axis=1), success.argmax(axis=1) + 1, 0)
returns = np.where(n > 0, gamma ** (n - 1.0), 0.0)
advantage = returns - returns.mean()
assert abs(advantage.sum()) < 1e-9, "a group's advantages cancel: nothing is gained by all being lucky"
grpo_plots.advantages(returns, advantage)

# %% [markdown]
# **Mask.** What happens after the first success earned nothing and must not be learned from. $T_i$ counts the actions
# up to *and including* the first success, and each rollout is divided by its own $T_i$, so that a quick success is not
# drowned by long failures.

# %%
G, T = p.shape
last = np.where(n > 0, n, T)
counted = np.arange(T) < last[:, None]  # (G, T)
weights = counted / (G * counted.sum(axis=1, keepdims=True) * ACTION_DIM)  # of each of an action's seven tokens
print(f"{counted.sum()} of {counted.size} actions count")
assert np.allclose(weights.sum(axis=1) * ACTION_DIM, 1 / G), "every sibling weighs the same"
grpo_plots.mask(p, counted, threshold)

# %% [markdown]
# **Ratio and clip.** With $r_{ita} = \pi_\theta / \pi_{old}$ of each token $a$ of action $t$, what is maximised is
#
# $$J = \frac1G \sum_i \frac1{T_i} \sum_{t \le T_i} \frac17 \sum_a
# \min\big(r_{ita} \hat A_i,\ \mathrm{clip}(r_{ita}, 1-\varepsilon_{low}, 1+\varepsilon_{high})\, \hat A_i\big).$$
#
# Move the bounds: where a curve is flat, the gradient is zero, and the policy is not pushed further.


# %%
def clipped(low, high):
    display(grpo_plots.surrogate(GRPOConfig(low, high)))


_ = ipywidgets.interact(
    clipped,
    low=ipywidgets.FloatSlider(0.2, min=0.0, max=0.5, step=0.02, continuous_update=False),
    high=ipywidgets.FloatSlider(0.28, min=0.0, max=0.7, step=0.02, continuous_update=False),
)

# %% [markdown]
# The ratio needs a policy that has moved. We move a copy a little by hand (noise on its log-probabilities stands for a
# few updates), so that some tokens are clipped.

# %%
old = np.stack([r.log_probs for r in rollouts]).reshape(G, T, ACTION_DIM).astype(np.float64)
new = old + 0.15 * np.random.default_rng(0).standard_normal(old.shape)
config = GRPOConfig()
ratio = np.exp(new - old)
bound = np.clip(ratio, 1 - config.clip_low, 1 + config.clip_high)
A = advantage[:, None, None]
by_hand = -np.sum(np.minimum(ratio * A, bound * A) * weights[..., None])
cut = ((ratio > 1 + config.clip_high) & (A > 0)) | ((ratio < 1 - config.clip_low) & (A < 0))
print(f"loss by hand {by_hand:+.8f}; {100 * cut[counted].mean():.1f} % of the counted tokens are clipped")

# %% [markdown]
# ## The library's
#
# The same group through `wovr_core.rl`.

# %%
batch = of_rollouts(group)
moved = torch.from_numpy(new).float().view(batch.log_probs.shape).requires_grad_()
loss, metrics = grpo_loss(moved, batch.log_probs, batch.returns, batch.loss_mask, config)
print(f"library      {loss.item():+.8f}; {100 * metrics['clip_fraction']:.1f} % clipped")
assert np.abs(batch.returns.numpy() - returns).max() < 1e-6
assert np.abs(group_advantages(batch.returns).numpy() - advantage).max() < 1e-6
assert np.array_equal(batch.loss_mask.numpy().reshape(G, T), counted)
assert np.abs(step_weights(batch.loss_mask).numpy().reshape(G, T) / ACTION_DIM - weights).max() < 1e-6
assert abs(loss.item() - by_hand) < 1e-6

# %% [markdown]
# ## The gradient
#
# Differentiate by hand: where a token counts and is not clipped, $\partial L / \partial \log \pi = - w\, r \hat A$;
# everywhere else zero. So a sibling above the mean is made more likely, one below less, and masked tokens are left
# alone.

# %%
loss.backward()
gradient = moved.grad.numpy().reshape(G, T, ACTION_DIM)
assert np.abs(gradient - np.where(cut, 0.0, -weights[..., None] * ratio * A)).max() < 1e-6
assert (gradient[~counted] == 0).all(), "a masked token moved"
print(f"gradient: by hand and library differ by {np.abs(gradient + weights[..., None] * ratio * A * ~cut).max():.1e}")

# %% [markdown]
# And in the policy's weights? One step of the library's own loss, as training takes it, then ask how the
# log-probability of each sibling's counted actions has changed. The learning rate here is far larger than in training,
# to see something.

# %%
rl = PolicyRLConfig(temperature=1.0)
optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
before, _ = batch_loss(policy, batch, rl)
before.backward()
size = torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.02)
optimizer.step()
with torch.no_grad():
    after, _ = batch_loss(policy, batch, rl)
print(f"objective J before {-before.item():+.6f}, after {-after.item():+.6f} (gradient's norm was {size:.3f})")
assert -after.item() > -before.item(), "the step went downhill"


# %%
def log_probs():
    seen, told = batch.frames.flatten(0, 1), batch.previous_actions.flatten(0, 1)
    said = [batch.instruction] * len(seen)
    with torch.no_grad():
        found = policy.log_prob(seen, said, told, batch.tokens.flatten(0, 1), temperature=1.0)
    return found.numpy().reshape(G, T, ACTION_DIM)


change = ((log_probs() - old) * weights[..., None]).sum(axis=(1, 2)) * G  # mean over what counts
grpo_plots.steps_taken(advantage, change)

# %% [markdown]
# Siblings share most of their actions' context, so one that did worse may be dragged up with the others; but weighted
# by the advantages the sum must rise: $\sum_i \hat A_i\, \overline{\Delta \log \pi}_i > 0$.

# %%
print(f"sum of advantage times change: {np.sum(advantage * change):+.6f}")
assert np.sum(advantage * change) > 0

# %% [markdown]
# ## When all siblings agree
#
# All succeed, or all fail: every advantage is zero, and the group is dropped. It cost as much to imagine as any other.

# %%
alike = torch.full_like(batch.returns, 0.8)
nothing, told = grpo_loss(moved, batch.log_probs, alike, batch.loss_mask, config)
assert nothing.item() == 0
assert told["dropped"] == 1

# %% [markdown]
# ## What keyframes change
#
# A group teaches only if its siblings end differently. Same policy, same number of imagined actions: how many groups
# are *informative* from keyframes, and how many from the episodes' beginnings? (A demonstration takes about as many
# actions as are imagined here, so from a beginning the decision is hardly reached: that is the point.)

# %%
policy, _ = load_policy(simulator.policy)  # without our step
plain = [g for i, k in enumerate(beginnings) for g in imagine_groups(policy, env, [k], seed=i, **how)]
counts = {}
for name, made in {"from beginnings": plain, "from keyframes": groups}.items():
    useful = sum(is_informative(of_rollouts(g), rl) for g in made)
    counts[name] = (useful, len(made))
    succeeded = sum(int((g.rewards > 0).sum()) for g in made)
    print(f"{name}: informative {format_rate(useful, len(made))}; ", end="")
    print(f"imagined successes {format_rate(succeeded, len(made) * SIBLINGS)}")
low, high = difference_interval(counts["from beginnings"], counts["from keyframes"])
print(f"difference of the informative shares: 95 % interval {100 * low:+.0f} to {100 * high:+.0f} points")
plots.success_rates(counts, "Groups whose siblings end differently").update_yaxes(title="share of groups (%)")

# %% [markdown]
# Read the interval before the bars. And mind what this does *not* show: an imagined success that the audit would call
# false makes a group "informative" too, and teaches the wrong thing. Keyframes shorten the way to the decision, which
# cuts both the cost and the errors on the way; whether the policy gets better *for real* is for `wovr reproduce main`
# to say.
#
# Next: [co-evolution](05_coevolution.ipynb).
