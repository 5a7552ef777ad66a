"""The report of an evaluation on a robot: report.json, and report.html made of nothing but it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import plots
from wovr_core.files import write_bytes, write_json
from wovr_core.robots.evaluation.evaluation import Evaluation
from wovr_core.robots.evaluation.report_data import build_report


def write_robot_report(evaluation: Evaluation) -> tuple[Path, Path]:
    """Write both files into the evaluation's folder; returns (HTML, JSON).

    Raises:
        ReportRefusedError, TamperedError: see `build_report`; nothing is written then, and what an earlier, valid
            state had written is removed, lest it be taken for the present one's.
    """
    page, data = evaluation.folder / "report.html", evaluation.folder / "report.json"
    try:
        report = build_report(evaluation)
    except Exception:
        page.unlink(missing_ok=True)
        data.unlink(missing_ok=True)
        raise
    write_json(data, report)
    write_bytes(page, render(report).encode())
    return page, data


def render(report: Mapping[str, Any]) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader
    from plotly.offline import get_plotlyjs

    environment = Environment(loader=PackageLoader("workbench"), autoescape=True)
    environment.globals.update(percent=_percent, span=_span, points=_points, verdict=_verdict)
    rates = {p["name"]: (p["successes"], p["trials"]) for p in report["policies"]}
    comparison = report["comparison"]
    sequence = ""
    if comparison and "sequential" in comparison:
        sequence = _e_values(comparison).to_html(full_html=False, include_plotlyjs=False)
    return environment.get_template("robot_report.html").render(
        r=report,
        c=comparison,
        planned=_day(report["planned"]),
        unblinded=_day(report["unblinded"]["time"]),
        plot=plots.success_rates(rates, "Successes, with Wilson's 95 % intervals").to_html(
            full_html=False, include_plotlyjs=False
        ),
        sequence=sequence,
        plotly_script=f"<script>{get_plotlyjs()}</script>",
    )


def _e_values(comparison: Mapping[str, Any]) -> Any:
    """The evidence after each block, and where it suffices."""
    values = comparison["sequential"]["e_values"]
    lines = [{"step": i, "e": value} for i, value in enumerate(values, 1)]
    figure = plots.curve(lines, {"e": "e-value"}, "Evidence that the policies differ", "e-value", x="block")
    ends, enough = [1, max(len(values), 2)], 1 / comparison["alpha"]
    figure.add_scatter(x=ends, y=[enough] * 2, mode="lines", name="stop", line={"color": plots.RED, "dash": "dash"})
    figure.update_yaxes(type="log")
    return figure


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.0f} %"


def _span(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def _points(interval: Sequence[float]) -> str:
    return f"[{100 * interval[0]:+.0f}, {100 * interval[1]:+.0f}]"


def _verdict(success: bool | None) -> str:
    return "" if success is None else "success" if success else "failure"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
