"""Thousands of damaged files of each format: an error of ours in under a second of work, or a whole episode.

`pytest tests/fuzz --mutants 5000` takes so many of each; without the option it is 200.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from format_sources import TASK, small_episode, write_libero, write_wmpo
from wovr_core.data.episode_files import write_episode
from wovr_core.data.formats import conventions
from wovr_core.data.formats.base import ForeignFileError
from wovr_core.data.formats.lerobot_write import LeRobotConfig, LeRobotWriter
from wovr_core.data.formats.rlinf_dataset import RLinfStart, plain_start, write_start
from wovr_core.data.formats.sandbox import Sandbox, SandboxConfig
from wovr_core.errors import WovrError
from wovr_core.foreign_weights import tensors
from wovr_core.policy.openvla_oft import actions
from wovr_core.seeding import numpy_generator
from wovr_core.world_model.rlinf import load_state

EDGES = (0, 1, 0x7F, 0x80, 0xFF)


@dataclass(frozen=True)
class Target:
    kind: str
    source: Path
    files: tuple[Path, ...]
    """Those that mutants are made of."""


def libero(folder: Path) -> Target:
    path = write_libero(folder / "soup_demo.hdf5", [small_episode(), small_episode("e1", seed=1)])
    return Target("libero", path, (path,))


def wmpo(folder: Path) -> Target:
    path = write_wmpo(folder / "a.tar", [small_episode()])
    return Target("wmpo", path, (path,))


def rlinf(folder: Path) -> Target:
    episode = small_episode()
    first = write_start(folder, 0, plain_start(episode.frames[0], TASK.instruction))
    actions = np.concatenate([episode.actions[:1], episode.actions])
    second = write_start(folder, 1, RLinfStart(TASK.instruction, episode.frames, actions))
    return Target("rlinf", folder, (first, second))


def lerobot(folder: Path, pictures: str) -> Target:
    root = folder / "set"
    writer = LeRobotWriter(root, "v", [TASK.instruction], LeRobotConfig(pictures=pictures))
    writer.write(small_episode(size=64))
    writer.finish()
    files = [p for p in sorted(root.rglob("*")) if p.suffix in (".parquet", ".mp4") or p.name == "info.json"]
    return Target("lerobot", root, tuple(files))


def wovr(folder: Path) -> Target:
    return Target("wovr", folder, (write_episode(folder, small_episode()),))


TARGETS: dict[str, Callable[[Path], Target]] = {
    "libero": libero,
    "wmpo": wmpo,
    "rlinf": rlinf,
    "lerobot video": lambda folder: lerobot(folder, "video"),
    "lerobot image": lambda folder: lerobot(folder, "image"),
    "wovr": wovr,
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(seconds=60)) as shared:
        yield shared


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four of: bits flipped, bytes at their edges, numbers made huge, cut, doubled, removed, moved, noise."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = max(1, len(out))
        at, many = int(rng.integers(size)), int(rng.integers(1, 65))
        # Headers are where parsers believe what they read: half of the damage goes there.
        at = at % 1024 if rng.random() < 0.5 else at
        way = int(rng.integers(8))
        if way == 0 and at < len(out):
            out[at] ^= 1 << int(rng.integers(8))
        elif way == 1 and at < len(out):
            out[at] = EDGES[int(rng.integers(len(EDGES)))]
        elif way == 2:
            out[at : at + 8] = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63])).to_bytes(8, "little")
        elif way == 3:
            del out[at:]
        elif way == 4:
            out[at:at] = out[at : at + many]
        elif way == 5:
            del out[at : at + many]
        elif way == 6:
            other = int(rng.integers(size))
            out[at : at + many] = out[other : other + many]
        else:
            out[at : at + many] = rng.bytes(many)
    return bytes(out)


def read_all(sandbox: Sandbox, target: Target) -> tuple[int, str, float]:
    """(episodes read, error, seconds of work)."""
    spent = 0.0
    try:
        keys = sandbox.keys(target.kind, target.source, {})
        spent += sandbox.cpu_seconds
        for key in keys:
            sandbox.read(target.kind, target.source, {}, key)
            spent += sandbox.cpu_seconds
    except ForeignFileError as error:
        return 0, str(error), spent + sandbox.cpu_seconds
    return len(keys), "", spent


@pytest.mark.security
@pytest.mark.parametrize("name", TARGETS)
def test_mutants_give_an_error_of_ours_or_an_episode(
    name: str, tmp_path: Path, sandbox: Sandbox, request: pytest.FixtureRequest
) -> None:
    target = TARGETS[name](tmp_path)
    count = request.config.getoption("--mutants", default=200)
    whole, _, _ = read_all(sandbox, target)
    assert whole >= 1
    outside = {p: p.read_bytes() for p in target.files}
    sandbox.restarts = 0
    slowest, errors = 0.0, 0
    for index in range(count):
        rng = numpy_generator(0, "fuzz", name, index)
        file = target.files[int(rng.integers(len(target.files)))]
        file.write_bytes(mutate(outside[file], rng))
        _, error, seconds = read_all(sandbox, target)
        file.write_bytes(outside[file])
        assert "\n" not in error.strip()[:300]
        errors += bool(error)
        assert seconds < 1.0, f"mutant {index} took {seconds:.2f} s: {error}"
        slowest = max(slowest, seconds)
    print(f"{name}: {errors} of {count} refused, {sandbox.restarts} crashed the reader, slowest {slowest:.3f} s")
    assert errors > count // 10
    # A reader that died was replaced, and its file refused; that is to be rare.
    assert sandbox.restarts <= max(3, count // 50)
    assert read_all(sandbox, target)[0] == whole
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file() and p.suffix in (".py", ".so", ".tmp")) == []


def pth(folder: Path) -> tuple[Path, Callable[[], int]]:
    """RLinf's autoencoder and reward model."""
    path, generator = folder / "resnet_rm.pth", torch.Generator().manual_seed(0)
    state = {"net.0.weight": torch.randn(4, 3, 3, 3, generator=generator), "net.1.num_batches_tracked": torch.tensor(3)}
    torch.save({"model_state_dict": state}, path)
    return path, lambda: sum(bool(tensor.sum() < 1e9) for tensor in load_state(path).values())


def shards(folder: Path) -> tuple[Path, Callable[[], int]]:
    """Safetensors as OpenVLA's and RLinf's transformer."""
    path, generator = folder / "model.safetensors", torch.Generator().manual_seed(0)
    save_file({"projector.fc1.weight": torch.randn(8, 8, generator=generator), "b": torch.zeros(3)}, path)
    return path, lambda: sum(bool(tensor.sum() < 1e9) for _, tensor in tensors(folder, "model"))


def statistics(folder: Path) -> tuple[Path, Callable[[], int]]:
    """Read twice: for imports and for OpenVLA."""
    path = folder / "dataset_statistics.json"
    action = {"q01": [-0.5] * 6 + [0.0], "q99": [0.5] * 6 + [1.0], "mask": [True] * 6 + [False]}
    path.write_text(json.dumps({"libero_object": {"action": action, "num_transitions": 7}}))

    def read() -> int:
        return len(conventions.read_statistics(path).q01) + len(actions.read_statistics(path).q01)

    return path, read


@pytest.mark.security
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("make", [pth, shards, statistics])
def test_mutants_of_weights_give_an_error_of_ours_or_numbers(
    make: Callable[[Path], tuple[Path, Callable[[], int]]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In this process, as they are read: a crash would end it."""
    path, read = make(tmp_path)
    sound, count = path.read_bytes(), request.config.getoption("--mutants", default=200)
    assert read() > 0
    slowest, errors, silent = 0.0, 0, 0
    for index in range(count):
        path.write_bytes(mutate(sound, numpy_generator(0, "fuzz", make.__name__, index)))
        begin = time.process_time()
        try:
            read()
        except WovrError as error:
            errors += 1
            silent += not str(error).strip()
        slowest = max(slowest, time.process_time() - begin)
        assert slowest < 1.0, f"mutant {index}"
    print(f"{make.__name__}: {errors} of {count} refused, slowest {slowest:.3f} s")
    assert errors > count // 10
    assert silent == 0
