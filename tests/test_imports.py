"""The core must not pull in a front end, a tracker or a cluster, and light commands must stay light."""

import json
import subprocess
import sys

import pytest

HEAVY = ["torch", "diffusers", "transformers", "mujoco", "gradio", "plotly"]
FOREIGN = ["gradio", "wandb", "ray", "IPython", "plotly", "apps", "workbench"]


def modules_after(statement: str) -> set[str]:
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_the_core_imports_nothing_above_it():
    assert not modules_after("import wovr_core.pipeline") & set(FOREIGN)


def test_rl_needs_torch_and_types_only():
    code = (
        "import json, sys, wovr_core.rl.grpo_loss\n"
        "print(json.dumps([m for m in sys.modules if m.startswith('wovr_core.')]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[1] for name in json.loads(result.stdout)}
    assert loaded <= {"rl", "types", "errors"}


@pytest.mark.parametrize("statement", ["import apps.cli; apps.cli.build_parser()", "import wovr_core.types"])
def test_help_loads_nothing_heavy(statement):
    assert not modules_after(statement) & set(HEAVY)


@pytest.mark.parametrize("statement", ["import wovr_core.pipeline", "import apps.cli; apps.cli.main(['recipes'])"])
def test_recipes_and_stages_load_no_library_of_networks_before_they_build_one(statement):
    assert not modules_after(statement) & {"diffusers", "transformers", "peft", "scipy", "mujoco"}
