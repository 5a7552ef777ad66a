"""The report's numbers, counted by hand from made-up rows."""

import json
from pathlib import Path

import pytest

from apps.cli import main
from workbench.reproduce import tables
from workbench.reproduce.arms import ABLATIONS, MAIN
from workbench.reproduce.comparisons import describe_difference, paired
from workbench.reproduce.figures import arms, false_success_by_depth
from workbench.reproduce.report import BEGIN, END, between_markers, write_report
from workbench.reproduce.results import Results
from wovr_core.audit.hallucination import SCORES
from wovr_core.errors import WovrError
from wovr_core.run_folder import describe_machine


def row(arm, outcomes, task=0, seed=0, suite="libero_object", **more):
    return {
        "suite": suite, "task": task, "arm": arm, "seed": seed, "successes": outcomes.count("1"),
        "trials": len(outcomes), "outcomes": outcomes, "real_episodes": 80, "minutes": 12.0, "config": "c",
    } | more  # fmt: skip


ROWS = [
    row("base", "0101000000"),
    row("base", "0000000000", task=1),
    row("wovr", "0111110000"),
    row("wovr", "1110000000", task=1),
    row("wovr", "0111000000", seed=1),
    row("grpo_online", "0100000000"),
]


def test_a_greedy_base_stands_against_every_seed_of_an_arm():
    base, wovr = ([r for r in ROWS if r["arm"] == arm] for arm in ("base", "wovr"))
    comparison, (low, high) = paired(base, wovr)
    assert (comparison.both, comparison.only_first, comparison.only_second) == (4, 0, 7)
    assert comparison.trials == 30
    assert low <= comparison.difference <= high
    # With the same seeds on both sides, trials meet their own seed only.
    both = [*base, row("base", "1111111111", seed=1)]
    assert paired(both, [r for r in wovr if r["seed"] == 1])[0].only_first == 7


def test_rows_without_outcomes_are_compared_unpaired():
    first, second = ([row(a, o) | {"outcomes": ""}] for a, o in (("base", "0011"), ("wovr", "1111")))
    assert describe_difference(first, second).endswith("unpaired")
    assert describe_difference(first, second).startswith("+50 points")


def test_the_table_counts_over_tasks_and_seeds():
    text = tables.arm_table(ROWS, MAIN)
    assert "| libero_object | WoVR | 11/30 = 37 % [22, 54] | +23 points [" in text
    assert "n = 30 pairs" in text
    assert text.index("SFT base") < text.index("GRPO online") < text.index("| WoVR")
    per_task = tables.task_table(ROWS, MAIN)
    assert "| libero_object/0 | 2/10 [3, 56] | 1/10 [0, 45] | 8/20 [19, 64] |" in per_task


def test_wovr_is_compared_with_its_rivals_on_what_both_ran():
    text = tables.rival_table(ROWS, ("grpo_online", "wmpo"))
    assert "WMPO" not in text
    # Task 0 and seed 0 alone: what the rival ran.
    (line,) = [x for x in text.splitlines() if "GRPO online" in x]
    assert "| 1/10 = 10 % [2, 40] | 5/10 = 50 % [24, 76] | +40 points [" in line
    assert "n = 10 pairs" in line
    assert tables.rival_table([r for r in ROWS if r["arm"] != "grpo_online"], ("grpo_online",)) == ""


def test_totals_say_over_how_many_suites_they_go():
    rows = [*ROWS, row("base", "0001", suite="libero_goal"), row("wovr", "1001", suite="libero_goal")]
    text = tables.arm_table(rows, MAIN)
    assert "| all | WoVR | 13/34" in text
    assert "| 1 of 2 suites | GRPO online, real simulator | 1/10" in text
    assert "| 1 of 2 suites | 1/10 = 10 %" in tables.rival_table(rows, ("grpo_online",))


def test_false_successes_stand_beside_each_arm_and_over_depth():
    rows = [
        row("base", "01"),
        row("wovr", "11", imagined_successes=4, false_successes=1, depths=[5, 9, 20, 60], false="0010"),
        row("without_mask", "01", imagined_successes=2, false_successes=2, depths=[8, 90], false="11"),
    ]
    text = tables.arm_table(rows, ("base", "wovr", "without_mask"))
    lines = {line.split("|")[2].strip(): line.split("|")[-2].strip() for line in text.splitlines()[2:]}
    assert lines["SFT base"] == "-"
    assert lines["WoVR"].startswith("1/4 = 25 %")
    assert lines["without post-success mask"].startswith("2/2 = 100 %")
    curves = {
        trace.name: (list(trace.x), list(trace.y), list(trace.text)) for trace in false_success_by_depth(rows).data
    }
    assert curves["WoVR"] == ([8.0, 24.0, 56.0], [0.0, 100.0, 0.0], ["0/2", "1/1", "0/1"])


def test_every_arm_has_its_bar_in_a_colour_of_its_own():
    drawn = arms([row(arm, "01") for arm in ABLATIONS], ABLATIONS, "title").data
    assert len(drawn) == len(ABLATIONS)
    assert len({bar.marker.color for bar in drawn}) == len(ABLATIONS)
    (alone,) = arms([row("wovr", "01")], ABLATIONS, "title").data
    assert alone.marker.color == next(bar for bar in drawn if bar.name == "WoVR").marker.color


def correction_row(arm, false, successes, task=0, seed=0):
    before = {"imagined_successes": 20, "false_successes": 10, "successes": 3, "trials": 9}
    corrected = 0 if arm == "none" else 7
    return {
        "suite": "libero_object", "task": task, "seed": seed, "arm": arm, "imagined_successes": 20,
        "false_successes": false, "successes": successes, "trials": 9, "real_episodes": corrected,
        "audited_to_flag": 4 * corrected, "arm_as_a_whole": {
            "corrected": 2 * corrected, "world_model_error": 9.0, "still_false": [1, 4], "reward_auroc": 0.875,
            "reward_false_positives": [2, 8], "reward_true_positives": [6, 8], "annotator_minutes": 3.0,
        },
    } | {f"before_{key}": count for key, count in before.items()}  # fmt: skip


def test_corrections_stand_beside_what_was_before_them_and_what_they_cost():
    rows = [correction_row(arm, k, 5, task) for arm, k in (("control", 8), ("flagged", 4)) for task in (0, 1)]
    text = tables.corrections_table(rows)
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in text.splitlines()[2:5]}
    # Once per task, although both arms tell of it.
    assert cells["before this round"][0].startswith("20/40 = 50 %")
    assert cells["before this round"][2].startswith("6/18 = 33 %")
    assert cells["before this round"][4] == "2"
    assert cells["flagged corrections"][0].startswith("8/40 = 20 %")
    assert "0.50 times" in cells["flagged corrections"][1]
    assert "| flagged corrections | 14 | 14 (56) | 9.0 |" in text


def everything(folder: Path) -> Path:
    Results(folder / "main.json", "wovr reproduce main").put(ROWS)
    quality = {"psnr": 25.0, "psnr_moving": None, "ssim": 0.9, "episodes": 4, "frames_per_second": 90.0}
    Results(folder / "world-model.json", "wovr reproduce world-model").put(
        [
            {"suite": "libero_object", "variant": v, "seed": 0, "horizon": h, **quality, "psnr": 25.0 + i}
            for i, v in enumerate(("full", "one_context_frame"))
            for h in (64, 128)
        ]
    )
    area = {"value": 0.75, "interval": [0.6, 0.85], "positives": 10, "negatives": 30}
    nothing = {"value": None, "interval": [0.0, 1.0], "positives": 0, "negatives": 4}
    Results(folder / "hallucination.json", "wovr reproduce hallucination").put(
        [
            {"suite": "s", "arm": "wovr", "seed": 0, "score": s, "false_success": area, "wrong_outcome": nothing,
             "against": [0.1, -0.1, 0.3] if s == "depth" else None}
            for s in SCORES
        ]
    )  # fmt: skip
    Results(folder / "corrections.json", "wovr bench corrections").put(
        [
            {
                "task": 0,
                "seed": 0,
                "arm": arm,
                "imagined_successes": 10,
                "false_successes": k,
                "successes": 5,
                "trials": 9,
            }
            for arm, k in (("none", 4), ("control", 4), ("flagged", 1))
        ]
    )
    return folder


def test_the_page_holds_every_study_and_the_readme_its_section(tmp_path, capsys):
    results, readme = everything(tmp_path / "results"), tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    assert main(["reproduce", "report", "--results", str(results), "--readme", str(readme)]) == 0
    assert str(results / "README.md") in capsys.readouterr().out
    page = (results / "README.md").read_text()
    for part in ("Post-training on the same real budget", "25.0 / 25.0", "0.75 [0.60, 0.85] (10 + 30)", "1/10 = 10 %"):
        assert part in page
    assert f"({len(ROWS)} on {describe_machine()['processor']}), last at commit" in page
    assert "LPIPS" in page.split("## Not run here")[1]
    text = readme.read_text()
    assert text.startswith("# Title\n\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "11/30 = 37 %" in text
    figure = json.loads((results / "figures" / "main-success.json").read_text())
    assert figure["data"]
    assert 'src="http' not in (results / "figures.html").read_text(), "it must open without a network"
    before = {p: p.read_bytes() for p in results.rglob("*") if p.suffix in (".md", ".json")}
    write_report(results, readme)
    assert {p: p.read_bytes() for p in before} == before
    assert readme.read_text() == text


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(WovrError, match="no results in"):
        write_report(tmp_path)
    with pytest.raises(WovrError, match="needs the lines"):
        between_markers("no markers", "x", Path("README.md"))
