"""The study's bookkeeping, with stages that cost nothing; and one whole study at smoke size."""

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from apps.cli import main
from workbench.reproduce import studies, world_models
from workbench.reproduce.estimates import Estimate, estimate
from workbench.reproduce.job import Outcome, Trained
from workbench.reproduce.results import read_rows
from workbench.reproduce.stage_store import OutOfTime, StageStore, plain
from workbench.reproduce.studies import StudyConfig, SuiteTasks, left, run_study, units
from wovr_core import recipes
from wovr_core.audit.hallucination import SCORES
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import RunFolderError, UnknownNameError, WovrError
from wovr_core.files import fingerprint
from wovr_core.model_files import load_world_model
from wovr_core.run_folder import Run
from wovr_core.stages.folder import StageFolder

SUITES = (SuiteTasks("libero_object", (0, 4)), SuiteTasks("libero_goal", (1,)))


@dataclass(frozen=True)
class ToyConfig:
    size: int = 1


@dataclass(frozen=True)
class ToyInputs:
    below: str
    pool: EnvPool | None = None


@dataclass(frozen=True)
class ToyOutputs:
    value: str


class Toy:
    """A stage that counts how often it is really run."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, config, inputs, out_dir, on_metrics):
        folder = StageFolder(out_dir, "toy", config, {"below": "1"}, on_metrics)
        finished = folder.outputs(ToyOutputs)
        if finished:
            return finished
        self.runs += 1
        return folder.finish(ToyOutputs(str(out_dir / f"made-{config.size}")))


@pytest.fixture
def config(tmp_path, monkeypatch) -> StudyConfig:
    monkeypatch.setenv("WOVR_HOME", str(tmp_path))
    recipe = replace(recipes.get("smoke"), workers=0)
    return StudyConfig("main", recipe, SUITES, seeds=(0, 1), results=tmp_path / "results")


def test_what_two_arms_share_is_made_once(tmp_path):
    recipe = recipes.get("smoke")
    toy = Toy()
    with Run(tmp_path / "run", recipe) as run, EnvPool(workers=0) as pool:
        store = StageStore(run)
        first = store.stage("a", toy, ToyConfig(), ToyInputs("x", pool))
        assert store.stage("a", toy, ToyConfig(), ToyInputs("x", None)) == first  # pools decide nothing
        other = store.stage("a", toy, ToyConfig(2), ToyInputs("x"))
        assert toy.runs == 2
        # What follows is another stage when what it reads is another's.
        assert store.stage("b", toy, ToyConfig(), ToyInputs(first.value)) != store.stage(
            "b", toy, ToyConfig(), ToyInputs(other.value)
        )
        assert toy.runs == 4
        assert all(name.rsplit("-", 1)[0] in ("a", "b") for name in store.seconds)
        assert plain(ToyInputs(str(run.path / "q"), pool), run.path) == {"below": "q"}


def test_no_stage_begins_after_the_deadline(tmp_path):
    toy = Toy()
    with Run(tmp_path / "run", recipes.get("smoke")) as run:
        StageStore(run).stage("a", toy, ToyConfig(), ToyInputs("x"))
        late = StageStore(run, deadline=time.monotonic() - 1)
        late.stage("a", toy, ToyConfig(), ToyInputs("x"))  # finished ones are read
        with pytest.raises(OutOfTime, match=r"b-\w+ is next"):
            late.stage("b", toy, ToyConfig(), ToyInputs("x"))
    assert toy.runs == 1


def test_side_by_side_a_stage_is_made_once_and_waited_for(tmp_path):
    toy, recipe = Toy(), recipes.get("smoke")
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments):
        begun.set()
        assert go_on.wait(30)
        return toy(*arguments)

    with Run(tmp_path / "run", recipe, shared=True) as one, Run(tmp_path / "run", recipe, shared=True) as other:
        with pytest.raises(RunFolderError, match="another wovr is working"), Run(tmp_path / "run", recipe):
            pass
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(StageStore(one).stage, "a", slow, ToyConfig(), ToyInputs("x"))
            assert begun.wait(30)
            second = pool.submit(StageStore(other).stage, "a", slow, ToyConfig(), ToyInputs("x"))
            StageStore(other).stage("b", toy, ToyConfig(), ToyInputs("x"))  # others go on meanwhile
            assert not second.done()
            go_on.set()
            assert first.result() == second.result()
    made = [name for name in (tmp_path / "run").iterdir() if name.name.startswith("a-")]
    assert len(made) == 1
    assert toy.runs == 2


def test_units_go_seed_by_seed_and_only_narrows(config):
    names = [(u.seed, u.suite.suite, u.name) for u in units(config)]
    assert [n[0] for n in names] == sorted(n[0] for n in names)
    # Acting greedily the base policy does the same for every seed.
    assert Counter(n[2] for n in names) == {"base": 2, "wovr": 4, "grpo_online": 4, "wmpo": 4}
    narrowed = replace(config, only=("libero_goal", "wovr"), seeds=(1,))
    assert [str(u) for u in units(narrowed)] == ["libero_goal wovr seed 1"]
    assert units(narrowed)[0].recipe.env.suite == "libero_goal"
    assert units(narrowed)[0].recipe.tasks == (1,)


def test_the_default_study_fits_the_default_recipe():
    config = StudyConfig("main", recipes.get("cpu"))
    assert len(units(config)) == 4 * 2 * 4
    assert all(len(suite.tasks) >= 3 for suite in config.suites)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"only": ("wover",)}, "did you mean 'wovr'"),
        ({"study": "mian"}, "did you mean 'main'"),
        ({"suites": (SuiteTasks("libero_objects", (0,)),)}, "did you mean 'libero_object'"),
        ({"suites": (SuiteTasks("libero_goal", (12,)),)}, "unknown task of libero_goal"),
        ({"seeds": ()}, "no seed"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(config, change, message):
    with pytest.raises((UnknownNameError, WovrError), match=message):
        units(replace(config, **change))


class FakeJob:
    """Trains nothing; every trial of task 4 succeeds."""

    trained = 0

    def __init__(self, store, recipe, arm, seed, pool) -> None:
        self.recipe, self.arm = recipe, arm

    def train(self) -> Trained:
        if self.arm.name == "wmpo":
            raise OutOfTime("the time is spent")
        FakeJob.trained += 1
        return Trained(Path("p"), None, Counter(dict.fromkeys(self.recipe.tasks, 11)))

    def evaluations(self, trained):
        for task in self.recipe.tasks:
            yield Outcome(task, (task == 4, True))

    def minutes(self) -> float:
        return 1.5


def test_rows_are_on_disk_as_they_come_and_are_not_made_again(config, monkeypatch):
    monkeypatch.setattr(studies, "ArmJob", FakeJob)
    FakeJob.trained = 0
    config = replace(config, seeds=(0,))
    path = config.results / "main.json"
    study = run_study(config)
    for count in range(1, 5):
        assert next(study)["trials"] == 2
        assert len(read_rows(path)) == count
    with pytest.raises(OutOfTime):
        next(study)
    assert next(str(u) for u in left(config)) == "libero_object wmpo seed 0"
    rows = {(r["arm"], r["task"]): r for r in read_rows(path)}
    assert rows["base", 4]["outcomes"] == "11"
    assert rows["base", 0]["outcomes"] == "01"
    assert rows["grpo_online", 0]["real_episodes"] == 11
    done = FakeJob.trained
    with pytest.raises(OutOfTime):
        list(run_study(config))
    assert FakeJob.trained == done
    # Another configuration makes its rows anew; the number of workers is none of it.
    changed = replace(config, recipe=replace(config.recipe, rl=replace(config.recipe.rl, updates=9)))
    assert len(left(changed)) == len(units(changed))
    assert left(replace(config, recipe=replace(config.recipe, workers=2))) == [
        replace(u, recipe=replace(u.recipe, workers=2)) for u in left(config)
    ]


def test_the_estimate_counts_shared_stages_once(tmp_path):
    folder = tmp_path / "run"
    for kind, seconds in {"collect": 600, "sft": 60, "evaluate": 30, "online": 300}.items():
        (folder / f"{kind}-abc").mkdir(parents=True)
        (folder / f"{kind}-abc" / "outputs.json").write_text(json.dumps({"outputs": {}, "seconds": seconds}))
    folders = {"here": folder, "there": tmp_path / "none"}
    here = estimate([("here", "base"), ("here", "grpo_online")], "main", folders, 2)
    assert here.minutes == pytest.approx((30 + 300 + 30) / 60)
    both = estimate([("there", "base"), ("there", "grpo_online")], "main", folders, 2)
    assert both.minutes == pytest.approx((600 + 60 + 30 + 300 + 30) / 60)
    assert both.untimed == ()
    assert "rl" in estimate([("here", "wovr")], "main", folders, 2).untimed
    assert str(here) == "2 units left, about 6 minutes"


def test_the_estimate_counts_every_round(tmp_path):
    for kind, seconds in {"rl": 600, "refine": 60}.items():
        (tmp_path / f"{kind}-abc").mkdir()
        (tmp_path / f"{kind}-abc" / "outputs.json").write_text(json.dumps({"outputs": {}, "seconds": seconds}))
    minutes = [estimate([("suite", "wovr")], "main", {"suite": tmp_path}, rounds).minutes for rounds in (2, 4)]
    assert minutes == pytest.approx([2 * 10 + 1, 4 * 10 + 3 * 1])
    assert estimate([("suite", "without_pace")], "main", {"suite": tmp_path}, 4).minutes == pytest.approx(4 * 10 + 1)


def test_the_command_plans_and_refuses(config, capsys):
    argv = ["reproduce", "main", "--recipe", "smoke", "--tasks", "libero_object=0", "--seeds", "0", "--plan"]
    assert main(argv) == 0
    assert capsys.readouterr().out.splitlines()[0] == "libero_object base seed 0"
    assert main([*argv, "--only", "grpo_onlin"]) == 2
    assert "did you mean 'grpo_online'" in capsys.readouterr().err
    assert main(["reproduce", "main", "--tasks", "libero_object"]) == 2
    assert "SUITE=I,J" in capsys.readouterr().err
    assert main(["reproduce", "main", "--seeds", "a"]) == 2
    assert "'a' is no list of numbers" in capsys.readouterr().err


def autoencoder(world_model):
    """Its weights' digest."""
    codec = load_world_model(world_model)[0].codec
    return fingerprint({name: tensor.tolist() for name, tensor in codec.state_dict().items()})


@pytest.mark.slow
def test_whole_studies_on_libero(wovr_home, tmp_path, capsys, monkeypatch):
    """Stopped for want of time, resumed, finished, and then done; the other studies go on from what is there."""
    argv = [
        "reproduce", "main", "--recipe", "smoke", "--tasks", "libero_object=0", "--seeds", "0",
        "--results", str(tmp_path), "--run", "study", "--set", "rl.gate.every=1", "--set", "threads=1",
    ]  # fmt: skip
    assert main([*argv, "--budget-minutes", "0"]) == 0
    assert "is next" in capsys.readouterr().out
    assert main(argv) == 0
    rows = {row["arm"]: row for row in read_rows(tmp_path / "main.json")}
    assert rows.keys() == {"base", "wovr", "grpo_online", "wmpo"}
    assert rows["base"]["real_episodes"] == 4
    assert rows["wovr"]["real_episodes"] >= 4 + 2 + 2 + 3
    assert rows["wmpo"]["real_episodes"] >= 11
    assert rows["grpo_online"]["real_episodes"] >= rows["wovr"]["real_episodes"] - 2
    assert all(len(row["outcomes"]) == row["trials"] == 2 for row in rows.values())
    folders = list((wovr_home / "runs" / "study-libero_object").glob("*-*"))
    kinds = Counter(f.name.rsplit("-", 1)[0] for f in folders)
    once = ("collect", "sft", "collect_base", "autoencoder")
    assert ([kinds[name] for name in once], kinds["world_model"]) == ([1] * 4, 2)
    assert len({autoencoder(f / "world_model") for f in folders if f.name.startswith("world_model-")}) == 1
    before = (tmp_path / "main.json").read_text()
    assert json.loads(before)["command"] == (
        "wovr reproduce main --recipe smoke --tasks libero_object=0 --seeds 0 --set rl.gate.every=1 --set threads=1"
    )
    began = time.monotonic()
    assert main(argv) == 0
    assert time.monotonic() - began < 20
    assert (tmp_path / "main.json").read_text() == before

    monkeypatch.setattr(world_models, "HORIZONS", (16, 40))
    for study, *more in (["ablations", "--only", "without_mask"], ["hallucination"], ["world-model", "--only", "full"]):
        assert main(["reproduce", study, *argv[2:], *more]) == 0
    promising = ["--only", "third", "--set", "reward.model.outcome=true", "--set", "rl.outcome_worth=1.0"]
    assert main(["reproduce", "agreement", *argv[2:], *promising]) == 0
    (agreement,) = read_rows(tmp_path / "agreement.json")
    assert (
        agreement["lifted"][1] == agreement["imagined_lifted"]["groups"] * agreement["imagined_lifted"]["siblings"] > 0
    )
    (ablation,) = read_rows(tmp_path / "ablations.json")
    assert len(ablation["depths"]) == ablation["imagined_successes"] == len(ablation["false"])
    assert {row["score"] for row in read_rows(tmp_path / "hallucination.json")} == set(SCORES)
    quality = read_rows(tmp_path / "world-model.json")
    assert [row["horizon"] for row in quality] == [16, 40]
    assert all(row["episodes"] == 4 and row["gripper_error_cm"] > 0 for row in quality)
    kinds = Counter(f.name.rsplit("-", 1)[0] for f in (wovr_home / "runs" / "study-libero_object").glob("*-*"))
    # WoVR's world model serves every study; the baseline has its own, and so has a third of the training.
    assert (kinds["collect"], kinds["autoencoder"], kinds["world_model"]) == (1, 1, 3)
    assert main(["reproduce", "report", "--results", str(tmp_path)]) == 0
    assert "without post-success mask" in (tmp_path / "README.md").read_text()


def test_an_estimate_without_any_finished_stage_names_no_time():
    assert (
        str(Estimate(32, 0.0, ("collect", "rl"))) == "32 units left; how long they take is known once one is finished"
    )
    assert str(Estimate(1, 61.2, ("online",))) == "1 unit left, about 61 minutes (not timed yet: online)"
    assert str(Estimate(0, 0.0, ())) == "0 units left, about 0 minutes"
