"""Runs the imitation stage at its smallest, again and again, in forks of one process that has torch loaded.

`training_server.py survive EPISODES FOLDER POINTS` kills a fresh run at POINTS instants, resumes each, and prints
a JSON object of what came out. `training_server.py train EPISODES FOLDER` trains once, as a job does.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from wovr_core.checkpoints import load_checkpoint, newest_complete
from wovr_core.data.episode_files import EpisodeSet
from wovr_core.instructions import embed
from wovr_core.policy.tiny_vla import TinyVLAConfig
from wovr_core.stages import train_policy_sft
from wovr_core.stages.folder import read_metrics
from wovr_core.stages.training import KIND, Training

STEPS = 36
EARLY = 9
"""Kills are aimed at steps before this one, so that at least 20 follow even where they come late."""
CONFIG = train_policy_sft.PolicySFTConfig(
    policy=TinyVLAConfig(image_size=32, width=16, blocks=1, keypoints=8, hidden=32, text=16),
    demonstrations=2,
    steps=STEPS,
    batch=4,
)


class Watched(Training):
    """The stages' own loop, which logs and (while `saving`) saves after each step and keeps its last state."""

    saving = True
    pause = 0.0

    def __init__(self, *args, **kwargs):
        kwargs |= {"save_every_seconds": 0.0 if self.saving else 1e9, "log_every": 1}
        super().__init__(*args, **kwargs)

    def __enter__(self):
        training = super().__enter__()
        (self.folder.path / "resumed_at").write_text(str(self._step))
        return training

    def __iter__(self):
        for step in super().__iter__():
            (self.folder.path.parent / f"{self.folder.path.name}.step").write_text(str(step))
            time.sleep(self.pause)
            yield step

    def __exit__(self, kind, error, traceback):
        super().__exit__(kind, error, traceback)
        if kind is None:
            shutil.copytree(newest_complete(self._path), self.folder.path / "last_state")


def train(episodes: Path, folder: Path) -> None:
    train_policy_sft.Training = Watched
    inputs = train_policy_sft.PolicySFTInputs(str(episodes), "v1", seed=3)
    train_policy_sft.run(CONFIG, inputs, folder)


def in_a_fork(work, kill_when=None) -> int:
    """Its exit code; -9 once `kill_when()` held."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    while kill_when is not None:
        if kill_when():
            os.kill(pid, signal.SIGKILL)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(folder: Path) -> dict[str, object]:
    """All that must be equal: every step's metrics, weights, their average, the optimiser's state."""
    state = load_checkpoint(folder / "last_state", KIND)
    lines = [
        {k: v for k, v in line.items() if k not in ("seconds", "steps_per_second")}
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    return {"lines": lines, "tensors": state.tensors, "step": state.extra["step"]}


def equal(one: dict, two: dict) -> bool:
    same = one["tensors"].keys() == two["tensors"].keys() and all(
        torch.equal(one["tensors"][name].view(-1).view(torch.uint8), two["tensors"][name].view(-1).view(torch.uint8))
        for name in one["tensors"]
    )
    return same and one["lines"] == two["lines"] and one["step"] == two["step"]


def survive(episodes: Path, below: Path, points: int) -> dict[str, object]:
    # What each fork would otherwise load anew: the text encoder, and what torch imports with its first optimiser.
    embed(sorted({episode.task.instruction for episode in EpisodeSet(episodes)}))
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)], fused=True)
    began = time.monotonic()
    assert in_a_fork(lambda: train(episodes, below / "reference")) == 0
    reference = outcome(below / "reference")
    seconds_per_step = (time.monotonic() - began) / STEPS
    resumed_at, differing, torn = [], [], 0
    for point in range(points):
        folder = below / f"point{point}"
        reached = below / f"{folder.name}.step"
        # The kill is aimed at an instant of the step that the point names, wherever that falls.
        wanted, part = divmod(point * EARLY / points, 1)
        seen: list[float] = []

        def due(reached=reached, wanted=wanted, part=part, seen=seen) -> bool:
            if not seen:
                try:
                    if int(reached.read_text() or -1) >= wanted:
                        seen.append(time.monotonic())
                except FileNotFoundError:
                    return False
            return bool(seen) and time.monotonic() - seen[0] >= part * seconds_per_step

        assert in_a_fork(lambda folder=folder: train(episodes, folder), due) == -signal.SIGKILL
        torn += any(path.name.endswith(".tmp") for path in folder.rglob(".*"))
        Watched.saving = False
        assert in_a_fork(lambda folder=folder: train(episodes, folder)) == 0
        Watched.saving = True
        resumed_at.append(int((folder / "resumed_at").read_text()))
        if not equal(outcome(folder), reference):
            differing.append(point)
        shutil.rmtree(folder)
    return {
        "resumed_at": resumed_at,
        "differing": differing,
        "torn": torn,
        "tensors": sorted({name.split(".")[0] for name in reference["tensors"]}),
        "steps": [line["step"] for line in reference["lines"]],
        "losses": len({line["loss"] for line in reference["lines"]}),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, episodes, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if mode == "train":
        Watched.pause = 0.1
        train(episodes, folder)
    else:
        print(json.dumps(survive(episodes, folder, int(sys.argv[4]))))
