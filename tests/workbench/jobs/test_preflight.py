"""Before a launch: measured times, what is kept, and refusals of what cannot be."""

import json
import shutil

import pytest

from workbench.jobs import preflight as module
from workbench.jobs.preflight import preflight
from workbench.jobs.queue import Capacity
from workbench.jobs.spec import JobSpec, Resources
from workbench.jobs.workload import WORKLOADS, Measured, estimate, measured_stages
from wovr_core import recipes
from wovr_core.config import override, to_dict
from wovr_core.errors import WovrError
from wovr_core.files import write_json
from wovr_core.pipeline import STAGES, stages_of
from wovr_core.rounds import LATER_ROUND
from wovr_core.run_folder import describe_machine

MACHINE = Capacity(cores=2, memory_mb=20_000)


def made(home, name, recipe, seconds=100.0, stages=("collect", "sft"), finished=True, machine=None):
    """A run folder as the pipeline leaves it, each stage of `seconds`, half of them in its loop."""
    run = home / "runs" / name
    config = to_dict(recipe)
    record = {"schema": 1, "recipe": recipe.name, "config": config, "machine": machine or describe_machine()}
    write_json(run / "run.json", record)
    for stage in stages:
        units = WORKLOADS[stage].units(config)
        write_json(run / stage / "config.json", {"config": config[WORKLOADS[stage].config], "inputs": {}})
        if finished:
            write_json(run / stage / "outputs.json", {"outputs": {}, "seconds": seconds})
        if "training" in units:
            steps = config["sft"]["steps"]
            line = {"phase": "training", "step": steps, "steps_per_second": 2 * steps / seconds, "seconds": seconds}
            (run / stage / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return run


def test_every_stage_of_the_pipeline_has_its_work_said():
    config = to_dict(recipes.get("demo"))
    assert set(WORKLOADS) == set(STAGES)
    for stage, workload in WORKLOADS.items():
        assert all(units > 0 for units in workload.units(config).values()), stage
        for count in workload.counts:
            part = config[workload.config]
            for name in count.split("."):
                part = part[name]  # a key that is there
            assert isinstance(part, int), (stage, count)


def test_nothing_measured_is_said_to_be_unknown(home):
    found = preflight(JobSpec("sft", "new", "smoke"), home, MACHINE)
    assert [(p.name, p.plan, p.seconds) for p in found.stages] == [("collect", "run", None), ("sft", "run", None)]
    assert found.seconds is None
    assert found.unknown == ("collect", "sft")
    assert found.memory_mb is None
    assert found.refusals == ()
    assert not found.exists


def test_rounds_between_are_planned_at_the_pace_of_the_last_one(home):
    made(home, "before", recipes.get("smoke"), stages=STAGES)
    found = preflight(JobSpec("pipeline", "new", "smoke", ("rounds=3",)), home, MACHINE)
    assert [plan.name for plan in found.stages] == stages_of(3)
    plans = {plan.name: plan for plan in found.stages}
    for stage in LATER_ROUND:
        assert plans[f"{stage}_2"].seconds == plans[stage].seconds is not None


def test_times_scale_with_the_work(home):
    smoke = recipes.get("smoke")
    made(home, "before", smoke)
    found = preflight(JobSpec("sft", "new", "smoke", ("sft.steps=60", "collect.clean=10")), home, MACHINE)
    collect, sft = found.stages
    assert collect.seconds == pytest.approx(100 * 12 / 6)  # 10 + 2 episodes in place of 4 + 2
    assert sft.seconds == pytest.approx(50 * 60 / 20 + 50)  # the loop thrice as long, the rest as it was
    assert collect.basis == sft.basis == "measured in before"
    assert found.seconds == pytest.approx(collect.seconds + sft.seconds)
    assert not (home / "runs" / "new").exists()


def test_other_settings_give_a_rough_estimate_and_other_machines_none(home):
    smoke = recipes.get("smoke")
    made(home, "other", override(smoke, ["sft.policy.width=32"]))
    made(home, "elsewhere", smoke, seconds=1.0, machine={"processor": "another", "cores": 64, "system": "Linux"})
    found = preflight(JobSpec("sft", "new", "smoke"), home, MACHINE)
    assert found.stages[1].basis == "rough, from other settings in other"
    assert found.stages[1].seconds == pytest.approx(100)


def test_a_tiny_run_of_other_settings_foretells_no_time(home):
    """Starting is most of what it took: in proportion, the demo would take hours."""
    made(home, "tiny", recipes.get("smoke"))
    found = preflight(JobSpec("sft", "new", "demo"), home, MACHINE)
    assert found.unknown == ("collect", "sft")
    assert found.seconds is None
    assert found.disk_mb > 0
    assert found.stages[1].basis == "not measured on this machine yet, but for other sizes in tiny"


def test_the_time_of_a_few_stages_is_not_given_for_that_of_all(home):
    made(home, "tiny", recipes.get("smoke"), stages=("collect", "keyframes"))
    found = preflight(JobSpec("pipeline", "new", "demo"), home, MACHINE)
    assert found.seconds is None
    assert 0 < sum(stage.seconds is not None for stage in found.stages) < len(found.unknown)


def test_other_things_beside_the_runs_do_no_harm(home):
    made(home, "old", recipes.get("smoke"))
    (home / "runs" / ".starter.lock").touch()
    (home / "runs" / "notes").mkdir()
    assert {m.run for m in measured_stages(home / "runs", describe_machine())} == {"old"}
    assert preflight(JobSpec("sft", "new", "smoke"), home, MACHINE).seconds is not None


def test_what_is_finished_is_kept_and_what_was_begun_goes_on(home):
    smoke = recipes.get("smoke")
    made(home, "before", smoke)
    run = made(home, "mine", smoke, stages=("collect",))
    write_json(run / "sft" / "config.json", {"config": to_dict(smoke)["sft"], "inputs": {}})
    write_json(run / "sft" / "elapsed.json", {"seconds": 30.0})
    found = preflight(JobSpec("sft", "mine", "smoke"), home, MACHINE)
    assert [(p.name, p.plan, p.seconds) for p in found.stages] == [("collect", "kept", 0.0), ("sft", "resumed", 70.0)]
    assert found.exists


def test_changed_settings_of_a_finished_stage_are_refused(home):
    made(home, "mine", recipes.get("smoke"))
    found = preflight(JobSpec("sft", "mine", "smoke", ("sft.batch=9",)), home, MACHINE)
    assert [p.plan for p in found.stages] == ["kept", "refused"]
    assert "sft.batch = 8, now 9" in found.refusals[0]
    with pytest.raises(WovrError, match=r"sft\.batch = 8, now 9"):
        found.check()


def test_the_run_of_another_recipe_and_a_folder_of_other_things_are_refused(home):
    made(home, "mine", recipes.get("demo"), stages=())
    assert "belongs to the recipe 'demo'" in preflight(JobSpec("sft", "mine", "smoke"), home, MACHINE).refusals[0]
    (home / "runs" / "thesis").mkdir()
    (home / "runs" / "thesis" / "chapter1.tex").write_text("precious")
    assert "is not empty and not a run" in preflight(JobSpec("sft", "thesis", "smoke"), home, MACHINE).refusals[0]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(cores=3), "cores = 3, this machine has 2"),
        (Resources(memory_mb=30_000), "memory_mb = 30000, this machine has 20000"),
        (Resources(gpus=1), "gpus = 1"),
        (Resources(custom={"franka_9": 1}), "franka_9 = 1"),
    ],
)
def test_what_the_machine_does_not_have_is_refused(home, resources, message):
    found = preflight(JobSpec("collect", "new", "smoke", resources=resources), home, MACHINE)
    assert message in found.refusals[0]


def test_a_disk_that_is_too_small_is_refused(home, monkeypatch):
    made(home, "before", recipes.get("smoke"))
    (home / "runs" / "before" / "collect" / "big").write_bytes(bytes(3_000_000))
    spec = JobSpec("collect", "new", "smoke", ("collect.clean=58",))
    assert preflight(spec, home, MACHINE).disk_mb == pytest.approx(30, rel=0.05)  # ten times as many episodes
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=int(520e6)))
    assert "only 520 MB are" in preflight(spec, home, MACHINE).refusals[0]
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=int(540e6)))
    assert preflight(spec, home, MACHINE).refusals == ()


def test_the_peak_of_earlier_jobs_is_the_memory_estimate(home, monkeypatch):
    folder = home / "jobs" / "abc"
    spec = JobSpec("collect", "r", "smoke", resources=Resources(memory_mb=100))
    from workbench.jobs.records import SCHEMA, JobFolder, State

    write_json(folder / "job.json", {"schema": SCHEMA, "spec": spec.to_json()})
    JobFolder(folder).write_state(State(state="succeeded", peak_memory_mb=700.0))
    found = preflight(JobSpec("collect", "new", "smoke", resources=Resources(memory_mb=100)), home, MACHINE)
    assert (found.memory_mb, found.memory_basis) == (700.0, "measured in job abc")
    assert "needed 700 MB before" in found.warnings[0]
    small = Capacity(cores=2, memory_mb=600)
    assert "it needed 700 MB" in preflight(spec, home, small).refusals[0]
    elsewhere = preflight(JobSpec("collect", "new", "smoke", resources=Resources(cores=99)), home, small, here=False)
    assert elsewhere.refusals == (), "what fits a cluster is the cluster's to say"


def test_the_finished_smoke_run_measures_every_stage(smoke_run):
    measured = [m for m in measured_stages(smoke_run.parent, describe_machine()) if m.run == smoke_run.name]
    assert {m.stage for m in measured} == set(STAGES)
    for m in measured:
        total = json.loads((smoke_run / m.stage / "outputs.json").read_text())["seconds"]
        assert sum(m.seconds.values()) == pytest.approx(total)
        assert all(seconds >= 0 for seconds in m.seconds.values())
        # The very same again takes as long again.
        again = estimate(m.stage, json.loads((smoke_run / "run.json").read_text())["config"], [m])
        assert again.seconds == pytest.approx(total, abs=0.01)
        assert again.megabytes == pytest.approx(m.megabytes)
        assert again.basis == f"measured in {m.run}"


def test_the_nearest_in_size_are_taken():
    config = to_dict(recipes.get("smoke"))
    units = WORKLOADS["collect"].units(config)[""]
    runs = [Measured(f"r{k}", "collect", "other", {"": units * k}, {"": units * k * k}, 1.0) for k in (1, 2, 4, 50)]
    assert estimate("collect", config, runs).seconds == pytest.approx(units * 2)  # the median pace of 1, 2 and 4
