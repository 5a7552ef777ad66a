"""What the robot study leaves in results/: its rows, the protocol's report, films; and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from workbench.reproduce.results import Row
from workbench.reproduce.tables import table
from workbench.robot_report import render
from wovr_core.files import read_json, write_bytes, write_json
from wovr_core.robots.evaluation.statistics import barnard
from wovr_core.statistics import difference_interval, proportion_interval

if TYPE_CHECKING:
    import plotly.graph_objects as go

BEFORE, AFTER = "before", "after"
LABELS = {BEFORE: "before, by imitation", AFTER: "after RL in imagination"}
Study = tuple[str, int, int]
"""Suite, task, seed."""


def publish(evaluation: Path, beside: Sequence[str], results: Path, study: Study) -> dict[str, Any]:
    """Copy report.json and the films of imagined beside recorded actions into results/robot/.

    The trials' films stay with the evaluation: too many for a repository; the report holds their hashes.

    Args:
        evaluation: its folder, with a report.
        beside: paths of the films.

    Returns:
        For the study's rows: "report" and "films", paths below `results`.
    """
    folder = results / "robot" / "-".join(map(str, study))
    report = read_json(evaluation / "report.json")
    for policy in report["policies"]:
        policy["path"] = "/".join(Path(policy["path"]).parts[-2:])  # where it lay on this machine is nobody's business
    write_json(folder / "report.json", report)
    films = []
    for film in map(Path, beside):
        write_bytes(folder / "beside" / film.name, film.read_bytes())
        films.append(str((folder / "beside" / film.name).relative_to(results)))
    return {"report": str((folder / "report.json").relative_to(results)), "films": films}


def write_pages(rows: Sequence[Row], results: Path) -> list[Path]:
    """The protocol's HTML report beside each report.json; returns what was written."""
    written = []
    for name in dict.fromkeys(r["report"] for r in rows if "report" in r):
        page = (results / name).with_suffix(".html")
        write_bytes(page, render(read_json(results / name)).encode())
        written.append(page)
    return written


def robot_section(rows: Sequence[Row], prefix: str = "") -> str:
    """Each study: k of n with both intervals, the comparison, what it was made from, and where the films are.

    prefix: of the links, from the page to the results.
    """
    return "\n\n".join(_study(study, own, prefix) for study, own in _studies(rows))


def robot_figure(rows: Sequence[Row]) -> go.Figure:
    """Before and after, with Wilson's intervals."""
    from workbench import plots

    rates = {
        f"{_name(study)}: {LABELS[r['arm']]}": (r["successes"], r["trials"])
        for study, own in _studies(rows)
        for r in own
    }
    return plots.success_rates(rates, "Simulated lab, blinded trials, with Wilson's 95 % intervals")


def _studies(rows: Sequence[Row]) -> Iterable[tuple[Study, list[Row]]]:
    """Before stands before after."""
    for study in sorted({(str(r["suite"]), int(r["task"]), int(r["seed"])) for r in rows}):
        own = [r for r in rows if (r["suite"], r["task"], r["seed"]) == study]
        yield study, sorted(own, key=lambda r: list(LABELS).index(r["arm"]))


def _name(study: Study) -> str:
    suite, task, seed = study
    return f"{suite}/{task}, seed {seed}"


def _study(study: Study, rows: Sequence[Row], prefix: str) -> str:
    lines = []
    for r in rows:
        k, n = r["successes"], r["trials"]
        share = f"{k}/{n} = {100 * k / n:.0f} %" if n else "0/0"
        wilson, exact = proportion_interval(k, n), proportion_interval(k, n, "exact")
        lines.append([LABELS[r["arm"]], share, _span(wilson), _span(exact)])
    parts = [f"**{_name(study)}**", table(["policy", "successes", "Wilson, 95 %", "Clopper and Pearson, 95 %"], lines)]
    by_arm = {r["arm"]: (r["successes"], r["trials"]) for r in rows}
    if by_arm.keys() == LABELS.keys() and all(n for _, n in by_arm.values()):
        parts.append(_comparison(by_arm[BEFORE], by_arm[AFTER]))
    return "\n\n".join([*parts, _made_from(rows[0], prefix)])


def _comparison(before: tuple[int, int], after: tuple[int, int]) -> str:
    low, high = difference_interval(before, after)
    change = 100 * (after[0] / after[1] - before[0] / before[1])
    return (
        f"{change:+.0f} points [{100 * low:+.0f}, {100 * high:+.0f}] (Newcombe), p = {barnard(before, after):.3f} by "
        "Barnard's exact test. Blinded, in blocks of one initial condition; LIBERO's predicate stands for the label."
    )


def _made_from(row: Row, prefix: str) -> str:
    text = (
        f"From {row['recorded']} episodes recorded in the lab ({row['recorded_successes']} successful); "
        f"{row['starts_from_failures']} starts of imagined rollouts lie in failed ones."
    )
    if "informative_groups" in row:
        (taught, groups), moved = row["informative_groups"], row["policy_change"]
        text += f" {taught} of {groups} imagined groups taught something; the weights moved by {moved:.2g}."
        if not moved:
            text += " **Both policies are the same: what differs is chance.**"
    if row.get("imagined_beside_recorded"):
        imagined, frozen = mean(row["imagined_beside_recorded"]), mean(row["frozen_beside_recorded"])
        text += (
            f" Recorded actions imagined in closed loop: {imagined:.1f} dB over arm, gripper and object, "
            f"{frozen:.1f} dB if nothing had moved"
        )
        links = ", ".join(f"[{i}]({prefix}{name})" for i, name in enumerate(row.get("films", []), 1))
        text += f" (films, recorded left, imagined right: {links})." if links else "."
    if "report" in row:
        folder = prefix + row["report"].rsplit("/", 1)[0]
        text += (
            f" The protocol's report is [report.json]({folder}/report.json), with the hash of every trial's film; "
            "`wovr reproduce report` writes it as a page, `report.html`, beside it."
        )
    return text


def _span(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"
