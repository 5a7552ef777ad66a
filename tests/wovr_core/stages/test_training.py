"""A killed and resumed loop must end like one that was never interrupted, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch

from wovr_core.errors import CorruptFileError, Interrupted, RunFolderError
from wovr_core.seeding import torch_generator
from wovr_core.stages.folder import StageFolder, read_metrics, read_outputs
from wovr_core.stages.training import Training, set_learning_rate, warmup_cosine

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import train
from wovr_core.interrupts import polite_interrupts
with polite_interrupts():
    train(Path(sys.argv[1]), steps=60, pause=0.02)
"""


@dataclass(frozen=True)
class ToyConfig:
    rate: float = 0.01


def make_folder(path: Path) -> StageFolder:
    return StageFolder(path, "toy", ToyConfig(), {"data": "v1"})


def train(path: Path, steps: int, stop_at: int | None = None, pause: float = 0.0) -> torch.nn.Module:
    """Fit a small network on data drawn from (seed, step); optionally die at a step without warning."""
    folder = make_folder(path)
    model = torch.nn.Linear(4, 3)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=torch_generator(0, "weights")))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    with Training(
        folder, steps=steps, modules={"model": model}, optimizer=optimizer, save_every_seconds=0, log_every=5
    ) as training:
        for step in training:
            if step == stop_at:
                raise KeyboardInterrupt
            set_learning_rate(optimizer, 0.05 * warmup_cosine(step, steps))
            x = torch.randn(8, 4, generator=torch_generator(0, "data", step))
            loss = (model(x) - x[:, :3].sin()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            training.log({"loss": loss.detach()})
            time.sleep(pause)
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[list[bytes], list[tuple[int, float]]]]:
    """What so many steps that nobody disturbs end with, and the losses that they log; trained once for each number."""

    @cache
    def trained(steps: int) -> tuple[list[bytes], list[tuple[int, float]]]:
        path = tmp_path_factory.mktemp("whole")
        return weights(train(path, steps)), losses(path)

    return trained


def weights(model: torch.nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def losses(path: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_metrics(path / "metrics.jsonl")]


@pytest.mark.parametrize("stop_at", [1, 7, 23])
def test_resuming_gives_the_same_weights_and_metrics(tmp_path, stop_at, whole):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 30, stop_at=stop_at)
    resumed = train(tmp_path, 30)
    assert (weights(resumed), losses(tmp_path)) == whole(30)
    assert [step for step, _ in losses(tmp_path)] == [5, 10, 15, 20, 25, 30]


def convolve(path: Path, steps: int, stop_at: int | None = None) -> torch.nn.Module:
    """As the autoencoder is trained: convolutions in channels_last, the optimizer fused."""
    model = torch.nn.Conv2d(6, 5, 3)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=torch_generator(0, "weights")))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    folder = make_folder(path)
    with Training(folder, steps=steps, modules={"model": model}, optimizer=optimizer, save_every_seconds=0) as training:
        for step in training:
            if step == stop_at:
                raise KeyboardInterrupt
            x = torch.randn(2, 6, 8, 8, generator=torch_generator(0, "data", step))
            optimizer.zero_grad()
            model(x.contiguous(memory_format=torch.channels_last)).square().mean().backward()
            optimizer.step()
            training.log({})
    return model


def test_resuming_keeps_moments_with_their_weights_in_any_memory_format(tmp_path):
    whole = convolve(tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        convolve(tmp_path / "torn", 6, stop_at=3)
    assert weights(convolve(tmp_path / "torn", 6)) == weights(whole)


@pytest.mark.fault
@pytest.mark.parametrize("delay", [0.3, 0.6])
def test_kill_9_then_resume(tmp_path, delay, whole):
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "torn")])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "torn").glob("training/step_*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(delay)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert weights(train(tmp_path / "torn", 60)) == whole(60)[0]


@pytest.mark.fault
def test_ctrl_c_checkpoints_at_once(tmp_path, whole):
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "run")], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "run").glob("training/step_*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert b"Interrupted" in error
    assert b"the same command goes on from there" in error
    assert weights(train(tmp_path / "run", 60)) == whole(60)[0]


@pytest.mark.parametrize(
    ("stage", "loop", "label"),
    [
        ("train_world_model", {"name": "transformer"}, "world model, transformer"),
        ("train_policy_sft", {}, "imitation"),
        ("some_plug_in", {}, "some plug in"),
    ],
)
def test_progress_is_told_in_words(tmp_path, monkeypatch, stage, loop, label):
    told = []
    monkeypatch.setattr("wovr_core.stages.training.Progress", lambda label, *_, **__: told.append(label))
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.0)
    with Training(StageFolder(tmp_path, stage, ToyConfig(), {}), steps=1, modules={}, optimizer=optimizer, **loop):
        assert told == [label]


def test_a_stop_request_is_an_error_that_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("wovr_core.stages.training.stop_requested", lambda: True)
    with pytest.raises(Interrupted, match="stopped toy after step 1 of 30"):
        train(tmp_path, 30)


@pytest.mark.fault
def test_a_torn_line_takes_no_later_one_with_it(tmp_path):
    make_folder(tmp_path).log(1, {"loss": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "", "step": 2, "lo')
    make_folder(tmp_path).log(2, {"loss": 0.25})
    assert losses(tmp_path) == [(1, 0.5), (2, 0.25)]


def test_outputs_of_another_version_are_refused(tmp_path):
    folder = make_folder(tmp_path)
    assert folder.outputs(ToyConfig) is None
    folder.finish(ToyConfig(0.5))
    assert make_folder(tmp_path).outputs(ToyConfig) == ToyConfig(0.5)
    for record in ('{"outputs": {"speed": 1}}', '{"seconds": 3}', "[]"):
        (tmp_path / "outputs.json").write_text(record)
        with pytest.raises(RunFolderError, match="delete that folder to make it again"):
            make_folder(tmp_path).outputs(ToyConfig)


def test_outputs_are_read_by_whoever_does_not_know_their_kind(tmp_path):
    assert read_outputs(tmp_path) is None
    make_folder(tmp_path).finish(ToyConfig(0.5))
    assert read_outputs(tmp_path) == {"rate": 0.5}
    for record in ('{"seconds": 3}', "[]", "{"):
        (tmp_path / "outputs.json").write_text(record)
        with pytest.raises(CorruptFileError, match=r"outputs\.json"):
            read_outputs(tmp_path)


def test_a_folder_made_with_another_config_is_refused(tmp_path):
    make_folder(tmp_path)
    with pytest.raises(RunFolderError, match=r"config rate = 0\.01, now it is 0\.02"):
        StageFolder(tmp_path, "toy", ToyConfig(0.02), {"data": "v1"})
    with pytest.raises(RunFolderError, match="input data = v1, now it is v2"):
        StageFolder(tmp_path, "toy", ToyConfig(), {"data": "v2"})
