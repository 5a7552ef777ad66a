"""The robot study on the results' page: counts with both intervals, the protocol's report, films, links that lead."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from scipy.stats import binomtest

from workbench.reproduce.report import BEGIN, END, write_report
from workbench.reproduce.results import Results, Row
from workbench.reproduce.robot_results import publish, robot_section
from workbench.robot_report import write_robot_report
from wovr_core.files import read_json
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.plan import Contestant, ProtocolConfig, write_plan
from wovr_core.types import TaskId

STUDY = ("libero_object", 0, 3)


def rows(before: tuple[int, int], after: tuple[int, int], **more: object) -> list[Row]:
    facts = {
        "suite": STUDY[0], "task": STUDY[1], "seed": STUDY[2], "recorded": 24, "recorded_successes": 9,
        "starts_from_failures": 31, "imagined_beside_recorded": [15.0, 17.0], "frozen_beside_recorded": [13.0, 14.0],
        "informative_groups": [8, 96], "policy_change": 0.0123,
    }  # fmt: skip
    counts = {"after": after, "before": before}
    return [facts | {"arm": arm, "successes": k, "trials": n} | more for arm, (k, n) in counts.items()]


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    """Two policies, two trials each, on paper; before fails always, after succeeds always."""
    folder = tmp_path / "evaluation"
    write_plan(
        folder, "study", robot="lab", task=TaskId("robot", 0, "push"), simulated=True,
        protocol=ProtocolConfig(trials=2, second_labels=0.0),
        contestants=[Contestant("before", "1"), Contestant("after", "2")],
        pictures={i: np.zeros((16, 16, 3), np.uint8) for i in range(2)},
    )  # fmt: skip
    made = Evaluation(folder)
    for number in range(1, 5):
        made.begin(number, "ann")
        made.end(number, {"attempt": 1, "how": "finished", "why": ""})
        made.label(number, "ann", made.policy_of(number) == "after")
    made.unblind("ann")
    write_robot_report(made)
    return made


def test_counts_intervals_and_the_test_are_as_others_compute_them() -> None:
    text = robot_section(rows((12, 30), (21, 30)))
    lines = [line for line in text.splitlines() if line.startswith(("| before", "| after"))]
    assert [line.split("|")[2].strip() for line in lines] == ["12/30 = 40 %", "21/30 = 70 %"]
    for line, k in zip(lines, (12, 21), strict=True):
        for cell, method in zip(line.split("|")[3:5], ("wilson", "exact"), strict=True):
            interval = binomtest(k, 30).proportion_ci(method=method)
            assert cell.strip() == f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"
    a, b = (binomtest(k, 30).proportion_ci(method="wilson") for k in (12, 21))
    low = 0.3 - np.hypot(0.7 - b.low, a.high - 0.4)  # Newcombe 1998, method 10
    high = 0.3 + np.hypot(b.high - 0.7, 0.4 - a.low)
    assert f"+30 points [{100 * low:+.0f}, {100 * high:+.0f}] (Newcombe)" in text
    p = float(re.search(r"p = ([\d.]+) by Barnard", text).group(1))  # type: ignore[union-attr]
    assert 0.01 < p < 0.05
    assert "16.0 dB over arm, gripper and object, 13.5 dB if nothing had moved" in text
    assert "8 of 96 imagined groups taught something; the weights moved by 0.012." in text
    assert "chance" not in text
    assert "what differs is chance" in robot_section(rows((12, 30), (21, 30), policy_change=0.0))


def test_one_policy_alone_is_not_compared() -> None:
    assert "points" not in robot_section(rows((1, 2), (2, 2))[:1])
    assert "0/0" in robot_section(rows((0, 0), (2, 2)))


def test_report_and_films_lie_beside_and_every_link_leads_somewhere(tmp_path: Path, evaluation: Evaluation) -> None:
    results, film = tmp_path / "results", tmp_path / "robot-0000.mp4"
    film.write_bytes(b"beside")
    kept = publish(evaluation.folder, [str(film)], results, STUDY)
    assert (results / kept["films"][0]).read_bytes() == b"beside"
    report = read_json(results / kept["report"])
    assert {p["name"]: p["successes"] for p in report["policies"]} == {"before": 0, "after": 2}
    Results(results / "robot.json", "wovr reproduce robot").put(rows((0, 2), (2, 2), **kept))
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    written = write_report(results, readme)
    assert results / "robot" / "libero_object-0-3" / "report.html" in written
    assert results / "figures" / "robot-success.json" in written
    for page in (results / "README.md", readme):
        links = re.findall(r"\]\(([^)]+)\)", page.read_text())
        assert {"robot-0000.mp4", "report.json"} <= {Path(unquote(link)).name for link in links}
        assert [link for link in links if not (page.parent / unquote(link)).exists()] == []
