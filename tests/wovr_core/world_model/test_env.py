"""The imagined environment: seeds, batches, termination, and what it refuses."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from wovr_core.errors import WovrError
from wovr_core.types import Keyframe
from wovr_core.world_model.env import ImaginationConfig, ImaginedStep, WorldModelEnv
from wovr_core.world_model.model import WorldModel

SEEDS = [3, 4, 5]


def never(frames: torch.Tensor, instructions: Sequence[str]) -> torch.Tensor:
    return torch.zeros(len(frames))


def actions(batch: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 8, 7, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def roll(env: WorldModelEnv, keyframes: list[Keyframe], seeds: list[int], given: list[torch.Tensor]) -> ImaginedStep:
    env.reset(keyframes, seeds)
    for a in given:
        step = env.step(a)
    return step


def test_shapes_and_the_start(small_model: WorldModel, keyframes: list[Keyframe]) -> None:
    env = WorldModelEnv(small_model, never, ImaginationConfig(max_chunks=2))
    start = env.reset(keyframes, SEEDS)
    assert np.array_equal(start.frames.numpy(), np.stack([k.context_frames[-1] for k in keyframes]))
    assert np.array_equal(start.previous_actions.numpy(), np.stack([k.context_actions[-1] for k in keyframes]))
    step = env.step(actions(3))
    assert (step.frames.shape, step.frames.dtype) == ((3, 8, 32, 32, 3), torch.uint8)
    assert (step.p_success.shape, step.success.shape, step.terminated.shape) == ((3, 8), (3, 8), (3,))
    assert not step.truncated.any()
    assert env.step(actions(3)).truncated.all()
    with pytest.raises(WovrError, match="call reset"):
        env.step(actions(3))


def test_drawing_only_the_ends_of_chunks_shows_the_policy_the_same(
    small_model: WorldModel, keyframes: list[Keyframe]
) -> None:
    def brightness(frames: torch.Tensor, instructions: Sequence[str]) -> torch.Tensor:
        judged.append(len(frames))
        return frames.float().mean(dim=(1, 2, 3)) / 255

    judged: list[int] = []
    given = [actions(3, 1), actions(3, 2)]
    every = WorldModelEnv(small_model, brightness, ImaginationConfig(max_chunks=3))
    ends = WorldModelEnv(small_model, brightness, ImaginationConfig(max_chunks=3, every_frame=False))
    whole = [every.reset(keyframes, SEEDS), *(every.step(a) for a in given)]
    judged.clear()
    start, *steps = [ends.reset(keyframes, SEEDS), *(ends.step(a) for a in given)]
    assert judged == [3, 3, 3]
    before, p_before = start.frames, start.p_success
    for step, full in zip(steps, whole[1:], strict=True):
        assert (step.frames[:, -1].int() - full.frames[:, -1].int()).abs().max() <= 1
        assert torch.allclose(step.p_success[:, -1], full.p_success[:, -1], atol=0.01)
        for k in range(7):  # until then what was last drawn stands in
            assert torch.equal(step.frames[:, k], before)
            assert torch.equal(step.p_success[:, k], p_before)
        before, p_before = step.frames[:, -1], step.p_success[:, -1]
    again = WorldModelEnv(small_model, brightness, ImaginationConfig(every_frame=False, reencode=True))
    judged.clear()
    again.reset(keyframes, SEEDS)
    again.step(given[0])
    assert judged == [3, 24], "what is encoded anew has to be drawn"


def test_a_seed_gives_the_same_rollout_and_another_seed_another(
    small_model: WorldModel, keyframes: list[Keyframe]
) -> None:
    env = WorldModelEnv(small_model, never, ImaginationConfig(max_chunks=3))
    given = [actions(3, 1), actions(3, 2)]
    one, two = roll(env, keyframes, SEEDS, given), roll(env, keyframes, SEEDS, given)
    assert torch.equal(one.frames, two.frames)
    assert not torch.equal(one.frames, roll(env, keyframes, [6, 7, 8], given).frames)


def test_a_rollout_does_not_depend_on_its_batch_mates(small_model: WorldModel, keyframes: list[Keyframe]) -> None:
    env = WorldModelEnv(small_model, never, ImaginationConfig(max_chunks=3))
    given = [actions(3, 1), actions(3, 2)]
    together = roll(env, keyframes, SEEDS, given).frames[1:2].int()
    alone = roll(env, keyframes[1:2], SEEDS[1:2], [a[1:2] for a in given]).frames.int()
    # Matrix products of other sizes may round otherwise in bf16: some grey levels of 255, far below another seed's.
    other = roll(env, keyframes[1:2], [99], [a[1:2] for a in given]).frames.int()
    assert (together - alone).abs().float().mean() < 0.1 * (together - other).abs().float().mean()


def test_success_terminates_for_good_and_is_judged_with_its_instruction(
    small_model: WorldModel, keyframes: list[Keyframe]
) -> None:
    calls: list[int] = []

    def second_succeeds_in_first_chunk(frames: torch.Tensor, instructions: Sequence[str]) -> torch.Tensor:
        calls.append(len(frames))
        wanted = torch.tensor([text == "move the square 1" for text in instructions]).float()
        return wanted * (0.7 if len(calls) == 2 else 0.1)

    env = WorldModelEnv(
        small_model, second_succeeds_in_first_chunk, ImaginationConfig(max_chunks=2, success_threshold=0.7)
    )
    start = env.reset(keyframes, SEEDS)
    assert torch.allclose(start.p_success, torch.tensor([0, 0.1, 0]))
    first, second = env.step(actions(3)), env.step(actions(3))
    assert first.success.all(dim=1).tolist() == [False, True, False]
    assert not second.success.any()
    assert second.terminated.tolist() == [False, True, False]
    assert second.truncated.tolist() == [True, False, True]
    assert calls == [3, 24, 24]


def test_context_moves_on_with_the_imagined_frames(small_model: WorldModel, keyframes: list[Keyframe]) -> None:
    env = WorldModelEnv(small_model, never, ImaginationConfig(max_chunks=3))
    env.reset(keyframes, SEEDS)
    before = env._context
    given = actions(3)
    env.step(given)
    assert before is not None
    assert env._context is not None
    assert torch.equal(env._context[:, 0], before[:, 0])
    assert not torch.equal(env._context[:, 1], before[:, 1])
    assert torch.equal(env._actions[:, 1:], given[:, -4:])


def test_reencoding_is_another_context_but_the_same_first_chunk(
    small_model: WorldModel, keyframes: list[Keyframe]
) -> None:
    given = [actions(3, 1), actions(3, 2)]
    plain = WorldModelEnv(small_model, never, ImaginationConfig(max_chunks=3))
    again = WorldModelEnv(small_model, never, ImaginationConfig(max_chunks=3, reencode=True))
    for n, same in ((1, True), (2, False)):
        a, b = roll(plain, keyframes, SEEDS, given[:n]), roll(again, keyframes, SEEDS, given[:n])
        assert torch.equal(a.frames, b.frames) is same


def test_what_it_refuses(small_model: WorldModel, keyframes: list[Keyframe]) -> None:
    env = WorldModelEnv(small_model, never, ImaginationConfig())
    with pytest.raises(WovrError, match="call reset"):
        env.step(actions(3))
    with pytest.raises(WovrError, match="a seed per keyframe"):
        env.reset(keyframes, [1])
    wide = replace(keyframes[0], context_frames=np.zeros((5, 64, 64, 3), dtype=np.uint8))
    with pytest.raises(WovrError, match=r"keyframe 0 \(e0 step 10\).*\(5, 32, 32, 3\)"):
        env.reset([wide], [1])
    with pytest.raises(WovrError, match="context_actions"):
        env.reset([replace(keyframes[0], context_actions=np.zeros((4, 7), dtype=np.float32))], [1])
    env.reset(keyframes, SEEDS)
    with pytest.raises(WovrError, match=r"\(3, 8, 7\)"):
        env.step(actions(2))
    with pytest.raises(WovrError, match="not finite"):
        env.step(torch.full((3, 8, 7), float("nan")))
    with pytest.raises(WovrError, match="success_threshold"):
        WorldModelEnv(small_model, never, ImaginationConfig(success_threshold=1.5))
    broken = WorldModelEnv(small_model, lambda f, i: torch.zeros(len(f), 1), ImaginationConfig())
    with pytest.raises(WovrError, match="reward function must return"):
        broken.reset(keyframes, SEEDS)
