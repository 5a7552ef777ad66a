"""A policy for whoever has no tensors: one observation in, one chunk out, as numpy. What a robot's runner is handed."""

from __future__ import annotations

import numpy as np

from wovr_core.policy.base import Policy
from wovr_core.robots.runner import Decision
from wovr_core.seeding import torch_generator
from wovr_core.types import FloatArray, Frames


class PolicyActor:
    """A policy of the library behind `robots.runner.Actor`. A trial's sampling is a function of the trial's seed."""

    def __init__(self, policy: Policy, temperature: float = 0.0) -> None:
        self._policy = policy
        self._temperature = temperature
        self._generator = torch_generator(0, "robot_trial")

    def begin(self, seed: int) -> None:
        self._generator = torch_generator(seed, "robot_trial")

    def decide(self, frame: Frames, instruction: str, previous: FloatArray) -> Decision:
        """frame (H, W, 3) in PICTURE_CONVENTION, previous (A,): the chunk that follows."""
        import torch

        chunk = self._policy.act(
            torch.from_numpy(np.ascontiguousarray(frame))[None],
            [instruction],
            torch.from_numpy(np.asarray(previous, dtype=np.float32))[None],
            temperature=self._temperature,
            generator=self._generator,
        )
        return Decision(chunk.actions[0].numpy(), chunk.tokens[0].numpy(), chunk.log_probs[0].numpy())
