"""A spec holds ids and data: nothing in it can become a path, an option or a shell command."""

import json

import pytest

from workbench.jobs.environment import filtered
from workbench.jobs.kinds import JobKind, find_kind, kinds, register_kind
from workbench.jobs.spec import JobSpec, Resources
from wovr_core.errors import UnknownNameError, WovrError

SPEC = JobSpec("sft", "my-run", "smoke", ("sft.steps=5", "sft.batch=4"), resources=Resources(2, 3000, 0, {"arm": 1}))


@pytest.mark.security
@pytest.mark.parametrize(
    "run", ["../x", "/etc", "a/b", "", ".hidden", "-rf", "a b", "a\n", "a;b", "$(x)", "x" * 65, "ä", 3, None]
)
def test_a_run_is_an_id(run):
    with pytest.raises(WovrError, match="run"):
        JobSpec("sft", run, "smoke")


@pytest.mark.security
@pytest.mark.parametrize("override", ["--run=/etc", "sft.steps", "=1", "a=1\nb=2", "a=\x00", "a b=1", "../a=1", 5])
def test_overrides_are_keys_and_values(override):
    with pytest.raises(WovrError, match="override"):
        JobSpec("sft", "r", "smoke", (override,))


@pytest.mark.security
@pytest.mark.parametrize("value", ["../../etc", "/tmp/x", "a b", "-x", "", "$(id)", "`id`", None, [1], {"a": 1}])
def test_parameters_are_ids_or_numbers(value):
    with pytest.raises(WovrError, match="parameter"):
        JobSpec("probe", "r", parameters={"mode": value})


@pytest.mark.parametrize(
    "bad",
    [
        {"cores": 0},
        {"cores": 1.5},
        {"cores": True},
        {"memory_mb": 0},
        {"gpus": -1},
        {"custom": {"a/b": 1}},
        {"custom": {"a": 0}},
    ],
)
def test_resources_are_whole_and_positive(bad):
    with pytest.raises(WovrError, match="resources"):
        Resources(**bad)


@pytest.mark.parametrize(
    "bad", [{"priority": 101}, {"priority": 1.0}, {"retries": 11}, {"retries": -1}, {"recipe": "../demo"}]
)
def test_other_parts_are_checked(bad):
    with pytest.raises(WovrError):
        JobSpec(**{"kind": "sft", "run": "r", **bad})


def test_a_spec_survives_json_and_its_hash_tells_specs_apart():
    again = JobSpec.from_json(json.loads(json.dumps(SPEC.to_json())))
    assert again == SPEC
    assert again.hash() == SPEC.hash()
    hashes = {SPEC.hash()}
    for name, value in {"run": "other", "priority": 1, "retries": 1, "overrides": ()}.items():
        hashes.add(JobSpec.from_json({**SPEC.to_json(), name: value}).hash())
    assert len(hashes) == 5


def test_the_order_of_named_resources_does_not_matter():
    one, two = (JobSpec("sft", "r", resources=Resources(custom=c)) for c in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert one.hash() == two.hash()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"knd": "sft"}, "did you mean 'kind'"),
        ({"resources": {"core": 1}}, "did you mean 'cores'"),
        ({"resources": 5}, "must be an object"),
        ({"overrides": "sft.steps=5"}, "must be a list"),
        ({"parameters": 3}, "malformed"),
    ],
)
def test_malformed_json_is_refused(change, message):
    with pytest.raises(WovrError, match=message):
        JobSpec.from_json({**SPEC.to_json(), **change})


def test_the_command_is_what_one_would_type():
    argv = SPEC.argv()
    assert argv[1:6] == ["-P", "-m", "apps.cli", "run", "sft"]
    assert argv[6:] == ["--recipe", "smoke", "--run", "my-run", "--set", "sft.steps=5", "--set", "sft.batch=4"]


def test_every_stage_is_a_kind():
    from wovr_core.pipeline import STAGES

    assert ["pipeline", *STAGES] == [name for name in kinds() if name in ("pipeline", *STAGES)]
    assert find_kind("pipeline").finished(JobSpec("pipeline", "r", "demo")) == "runs/r/report.html"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (JobSpec("worldmodel", "r", "demo"), "did you mean 'world_model'"),
        (JobSpec("sft", "r", "dem"), "did you mean 'demo'"),
        (JobSpec("sft", "r"), "needs a recipe"),
        (JobSpec("sft", "r", "demo", ("sft.stepz=1",)), "did you mean 'sft.steps'"),
        (JobSpec("sft", "r", "demo", ("sft.steps=lots",)), "sft.steps = 'lots'"),
        (JobSpec("sft", "r", "demo", parameters={"a": 1}), "takes no parameters"),
        (JobSpec("probe", "r", "demo", parameters={"mode": "say"}), "takes neither a recipe"),
        (JobSpec("probe", "r", parameters={"mod": "say"}), "did you mean 'mode'"),
        (JobSpec("probe", "r"), "needs the parameter mode"),
        (JobSpec("probe", "r", parameters={"mode": "say", "count": "many"}), "count = 'many'"),
    ],
)
def test_checking_says_what_would_be_right(spec, message):
    with pytest.raises(WovrError, match=message):
        spec.check()


def test_a_kind_cannot_be_replaced():
    probe = find_kind("probe")
    assert register_kind(probe) is probe
    for name in ("probe", "pipeline"):
        with pytest.raises(WovrError, match="already"):
            register_kind(JobKind(name, "another", lambda spec: ["true"]))
    with pytest.raises(UnknownNameError):
        find_kind("nothing")


@pytest.mark.security
def test_jobs_see_an_allow_list_of_the_environment():
    given = {"PATH": "/bin", "WOVR_HOME": "/w", "LC_ALL": "C", "OMP_NUM_THREADS": "1", "HF_HOME": "/h"}
    hidden = {
        "AWS_SECRET_ACCESS_KEY": "s",
        "LD_PRELOAD": "x",
        "PYTHONSTARTUP": "x",
        "PYTHONPATH": "x",
        "WOVR_JOB_ID": "other",
        "WOVR_SUPERVISES": "other",
        "SSH_AUTH_SOCK": "x",
    }
    assert filtered({**given, **hidden}) == given
