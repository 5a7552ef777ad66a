"""KIR on a real arm's episodes: frames and actions suffice to imagine and to learn; only the audit needs states."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wovr_core.data.corrections import reference_of
from wovr_core.data.episode_files import EpisodeSet, read_rollout, write_episode
from wovr_core.data.keyframe_files import read_keyframes
from wovr_core.data.keyframes import KeyframeConfig
from wovr_core.envs.libero import LiberoConfig
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import NotReplayableError, RunFolderError, WovrError
from wovr_core.model_files import POLICY, REWARD, WORLD_MODEL, save_model
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.policy.tiny_vla import build as build_policy
from wovr_core.reward.calibration import calibrate
from wovr_core.reward.classifier import RewardConfig
from wovr_core.reward.classifier import build as build_reward
from wovr_core.stages import audit, imagine, select_keyframes, train_policy_rl
from wovr_core.stages.imagine import ImagineConfig, Simulator
from wovr_core.stages.select_keyframes import KeyframeInputs, KeyframeOutputs
from wovr_core.stages.train_policy_rl import PolicyRLConfig, PolicyRLInputs
from wovr_core.types import Episode
from wovr_core.world_model.autoencoder import AutoencoderConfig
from wovr_core.world_model.model import WorldModelConfig
from wovr_core.world_model.model import build as build_world_model

SIZE = 16
CONFIG = KeyframeConfig(count=12, initial_share=0.25)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    """Untrained models, as small as they come."""
    folder = tmp_path_factory.mktemp("models")
    codec = AutoencoderConfig(image_size=SIZE, width=16, latent_channels=4)
    world_model = build_world_model(WorldModelConfig(codec=codec, layers=1, heads=2, head_dim=16))
    policy = build_policy(TinyVLAConfig(image_size=SIZE, width=16, blocks=1, keypoints=8, hidden=32), seed=1)
    reward = build_reward(RewardConfig(image_size=SIZE, width=8))
    threshold = calibrate([np.linspace(-1, 1, 40, dtype=np.float32)] * 2, [np.arange(40) >= 20, np.zeros(40, bool)])
    save_model(folder / "world_model", WORLD_MODEL, world_model, lineage={})
    save_model(folder / "policy", POLICY, policy, lineage={})
    save_model(folder / "reward", REWARD, reward, lineage={}, extra={"calibration": threshold.to_dict()})
    return Simulator(folder / "policy", folder / "world_model", folder / "reward")


@pytest.fixture
def folders(tmp_path: Path, make_episode: Callable[..., Episode]) -> tuple[str, str]:
    """Episodes of an arm, without states; and of a simulator, with them."""
    arm = [replace(make_episode(f"arm{i}", size=SIZE), sim_states=None, clean_actions=None) for i in range(3)]
    simulated = [make_episode(f"sim{i}", size=SIZE, success_at=32) for i in range(2)]
    return written(tmp_path / "arm", arm), written(tmp_path / "sim", simulated)


def written(folder: Path, episodes: Sequence[Episode]) -> str:
    folder.mkdir()
    for episode in episodes:
        write_episode(folder, episode)
    EpisodeSet(folder).write_index()
    return str(folder)


def select(out: Path, simulator: Simulator, *episodes: str, replayable: bool = True) -> KeyframeOutputs:
    versions = tuple(EpisodeSet(Path(folder)).write_index() for folder in episodes)
    inputs = KeyframeInputs(episodes, versions, simulator.world_model, 3, replayable)
    return select_keyframes.run(CONFIG, inputs, out)


def sources(outputs: KeyframeOutputs, letters: int = 3) -> set[str]:
    return {k.start.episode_id[:letters] for k in read_keyframes(Path(outputs.keyframes))}


def test_what_can_be_audited_is_preferred_unless_all_are_asked_for(
    tmp_path: Path, simulator: Simulator, folders: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    preferred = select(tmp_path / "a", simulator, *folders)
    assert sources(preferred) == {"sim"}
    assert preferred.from_failures == 0
    both = select(tmp_path / "b", simulator, *folders, replayable=False)
    assert sources(both) == {"arm", "sim"}
    assert both.from_failures > 0
    assert both.version != preferred.version
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        only_arm = select(tmp_path / "c", simulator, folders[0])
    assert sources(only_arm) == {"arm"}
    assert "cannot be audited" in caplog.text


def test_a_success_is_no_failure_because_another_folder_s_is_called_alike(
    tmp_path: Path, simulator: Simulator, make_episode: Callable[..., Episode]
) -> None:
    failed = make_episode("policy0000", size=SIZE)
    won = make_episode("policy0000", size=SIZE, success_at=32)
    won = replace(won, frames=won.frames + np.uint8(100))
    outputs = select(tmp_path / "out", simulator, written(tmp_path / "a", [failed]), written(tmp_path / "b", [won]))
    starts = read_keyframes(Path(outputs.keyframes))
    from_failed = sum(k.context_frames[0, 0, 0, 0] == 0 for k in starts)
    assert 0 < from_failed < len(starts)
    assert outputs.from_failures == from_failed


def test_nothing_begins_in_an_excluded_episode_and_there_are_as_many_starts(
    tmp_path: Path, simulator: Simulator, make_episode: Callable[..., Episode]
) -> None:
    episodes = [make_episode(f"e{i}", size=SIZE) for i in range(3)]
    episodes = [replace(e, frames=e.frames + np.uint8(50 * i)) for i, e in enumerate(episodes)]
    folder = written(tmp_path / "all", episodes)
    inputs = KeyframeInputs((folder,), ("v",), simulator.world_model, 3)
    references = tuple(reference_of(e.frames[0]) for e in episodes)
    anywhere = select_keyframes.run(CONFIG, inputs, tmp_path / "anywhere")
    kept = select_keyframes.run(CONFIG, replace(inputs, excluded=references[:2]), tmp_path / "kept")
    assert sources(anywhere, 2) == {"e0", "e1", "e2"}
    assert sources(kept, 2) == {"e2"}
    assert len(read_keyframes(Path(kept.keyframes))) == CONFIG.count
    with pytest.raises(RunFolderError):  # what was selected elsewhere is not taken for it
        select_keyframes.run(CONFIG, replace(inputs, excluded=references[:1]), tmp_path / "kept")
    with pytest.raises(WovrError, match="every episode is excluded"):
        select_keyframes.run(CONFIG, replace(inputs, excluded=references), tmp_path / "none")


def test_without_episodes_it_says_where_it_looked(tmp_path: Path, simulator: Simulator) -> None:
    inputs = KeyframeInputs((written(tmp_path / "nothing", []),), ("0",), simulator.world_model, 3)
    with pytest.raises(WovrError, match=f"no episodes in {tmp_path / 'nothing'}"):
        select_keyframes.run(CONFIG, inputs, tmp_path / "out")


def test_an_arms_failures_can_be_practised_on_and_not_be_audited(
    tmp_path: Path, simulator: Simulator, folders: tuple[str, str], make_episode: Callable[..., Episode]
) -> None:
    keyframes = select(tmp_path / "keyframes", simulator, folders[0])
    starts = read_keyframes(Path(keyframes.keyframes))
    assert all(k.sim_state is None for k in starts)
    for k in starts:  # what the world model sees is what the arm's camera saw
        np.testing.assert_array_equal(
            k.context_frames[-1], make_episode(k.start.episode_id, size=SIZE).frames[k.start.step]
        )

    made = imagine.run(
        ImagineConfig(starts=2, group_size=2, chunks=2, solver_steps=1),
        imagine.ImagineInputs(simulator, keyframes.keyframes, keyframes.version, 5),
        tmp_path / "imagine",
    )
    rollouts = [read_rollout(path) for path in EpisodeSet(Path(made.rollouts)).paths.values()]
    assert len(rollouts) == 4
    assert all(r.sim_state is None and r.frames.any() for r in rollouts)

    rl = PolicyRLConfig(updates=2, groups=2, group_size=3, chunks=2)
    inputs = PolicyRLInputs(simulator, keyframes.keyframes, keyframes.version, 5)
    assert train_policy_rl.run(rl, inputs, tmp_path / "rl").groups == 4

    with EnvPool(workers=0) as pool:
        arguments = audit.AuditInputs(LiberoConfig(size=SIZE), made.rollouts, made.version, pool)
        with pytest.raises(NotReplayableError, match=r"recorded without a simulator's state .*cannot be audited"):
            audit.run(audit.AuditConfig(), arguments, tmp_path / "audit")
    assert not list((tmp_path / "audit").rglob("*.safetensors"))
