"""The command names the studies without importing them: the names must be those that there are."""

from apps.commands.reproduce import STUDIES
from workbench.reproduce import report, studies


def test_the_command_knows_every_study() -> None:
    assert set(studies.STUDIES) < set(report.NAMES) < set(STUDIES)
    assert set(STUDIES) - set(report.NAMES) == {"starter", "report"}
