"""How the LIBERO tests act: random actions, and a grasp that carries an object, built on poses alone."""

from __future__ import annotations

import numpy as np

from wovr_core.envs.libero import LiberoEnv
from wovr_core.types import FloatArray, Frames, StateArray


def random_actions(seed: int, length: int) -> FloatArray:
    """(length, 7): smooth pushes downwards, every third without any rotation, the gripper switching at times."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (length, 7))
    actions[:, 2] = np.clip(actions[:, 2] - 0.5, -1, 1)
    actions[::3, 3:6] = 0
    actions[:, 6] = np.where(np.arange(length) // 7 % 2, 1, -1)
    return actions.astype(np.float32)


def grasp_action(env: LiberoEnv, name: str, closing: bool) -> FloatArray:
    """Towards the object from above, then down onto it; no rotation, as experts do."""
    poses = env.poses()
    offset = poses[name][:3] - poses["eef"][:3]
    if np.linalg.norm(offset[:2]) > 0.015 and not closing:
        offset[2] = max(offset[2] + 0.08, -0.05)
    action = np.zeros(7, dtype=np.float32)
    action[:3] = np.clip(offset / 0.05, -1, 1)
    action[6] = 1 if closing else -1
    return action


def grasp_and_lift(env: LiberoEnv, name: str) -> list[FloatArray]:
    """Execute a whole grasp of the object; returns the actions."""
    done = []
    for _ in range(70):
        offset = env.poses()[name][:3] - env.poses()["eef"][:3]
        if np.linalg.norm(offset) < 0.02:
            break
        done.append(grasp_action(env, name, closing=False))
        env.advance(done[-1])
    for k in range(30):
        done.append(np.array([0, 0, 0 if k < 8 else 0.6, 0, 0, 0, 1], dtype=np.float32))
        env.advance(done[-1])
    return done


def record(env: LiberoEnv, actions: FloatArray) -> tuple[StateArray, list[Frames], list[bool]]:
    """Play the actions from where the environment is: states (T+1, S), T+1 frames, T+1 predicates."""
    states, frames, success = [env.sim_state()], [env.frame()], [env.success]
    for action in actions:
        result = env.step(action)
        states.append(env.sim_state())
        frames.append(result.frame)
        success.append(result.success)
    return np.stack(states), frames, success


def first_difference(env: LiberoEnv, actions: FloatArray, states: StateArray, start: int) -> str | None:
    """Restore frame `start`, play the rest, and tell where the states part, if they do."""
    env.restore(states[start])
    for step in range(start, len(actions) + 1):
        if not np.array_equal(env.sim_state(), states[step]):
            return f"replay from {start} parts at step {step}: {np.nonzero(env.sim_state() != states[step])[0][:8]}"
        if step < len(actions):
            env.advance(actions[step])
    return None
