"""pyproject.toml, constraints.txt and environment.yml must tell the same story."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, Version]:
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    found = {}
    for line in filter(None, lines):
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line} is not a pin"
        found[canonical(requirement.name)] = Version(specifier.version)
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for group in (PROJECT["dependencies"], *extras) for text in group]


@pytest.mark.parametrize("requirement", declared(), ids=lambda r: r.name)
def test_every_declared_package_is_pinned_within_its_range(requirement):
    pinned = pins()
    assert canonical(requirement.name) in pinned, "add it to constraints.txt"
    assert requirement.specifier.contains(pinned[canonical(requirement.name)])


def test_environment_yml_installs_the_same_thing():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert f"python{PROJECT['requires-python']}" in conda
    makefile = (ROOT / "Makefile").read_text()
    extras = re.search(r'--editable "\.(\[[a-z,]+\])"', makefile).group(1)
    assert pip == ["-c constraints.txt", f"-e .{extras}"]


def test_the_doctor_checks_the_pins():
    from apps.doctor import PINNED

    pinned = pins()
    for name, version in PINNED.items():
        assert pinned[canonical(name)] == Version(version)


def test_ci_runs_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", ["LICENSE", "CITATION.cff"])
def test_license_and_citation(file):
    text = (ROOT / file).read_text()
    assert ("Apache License" in text) if file == "LICENSE" else ("2602.13977" in text)
    assert PROJECT["license"] == "Apache-2.0"
