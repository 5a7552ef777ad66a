"""`wovr doctor data PATH`: the convention doctor on a dataset of any format, its evidence as a page of pictures."""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.commands.formats import add_convention_flags, check_format, conventions_of, flags_text
from wovr_core.data.formats import READERS, guess_format
from wovr_core.errors import WovrError

if TYPE_CHECKING:
    from wovr_core.data.doctor import Diagnosis, Sight
    from wovr_core.data.formats.base import Conventions

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "img{image-rendering:pixelated;width:100%}table{border-collapse:collapse}td,th{padding:.3rem .8rem;"
    "border-bottom:1px solid #ccc;text-align:left;vertical-align:top}code{background:#eee;padding:.1rem .3rem}"
)
_SHOWN = 6


def add_data_doctor(doctor: Any, common: Any) -> None:
    """The verb `data` of `wovr doctor`; without a verb it examines the machine."""
    verbs = doctor.add_subparsers(dest="verb", required=False, metavar="[data]")
    parser = verbs.add_parser(
        "data",
        parents=[common],
        help="which conventions a dataset follows, and the flags to import it with",
        description="Looks at some clips of a dataset and finds what is the wrong way round: gripper sign, turned or "
        "flipped pictures, shifted or normalised actions, task order, channel order, frame rate. Writes a page with "
        "the evidence. Exit code 1 if anything is found. Give the flags that you would import with to check them.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a file, a folder of them, or a run's folder")
    parser.add_argument("--format", default="", help="one of " + ", ".join(READERS) + " (default: by what is there)")
    parser.add_argument("--clips", type=int, default=20, help="clips to look at, spread evenly (default: 20)")
    parser.add_argument("--suite", default="", help="LIBERO suite of the tasks (default: what the source says)")
    parser.add_argument("--camera", default="", help="lerobot: feature of the pictures")
    parser.add_argument("--out", type=Path, default=Path("doctor.html"), help="the page (default: doctor.html)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_convention_flags(parser)
    parser.set_defaults(function=examine_data)


def examine_data(arguments: argparse.Namespace) -> int:
    """Run it; 1 if something was found."""
    import numpy as np

    from wovr_core.data.doctor import diagnose, see
    from wovr_core.data.formats.conventions import merge, read_statistics
    from wovr_core.data.formats.sandbox import Sandbox, SandboxedReader
    from wovr_core.files import write_bytes

    kind = arguments.format or guess_format(arguments.path)
    if not kind:
        raise WovrError(f"{arguments.path} holds nothing of a known format; name one with --format")
    check_format(kind)
    if arguments.clips < 1:
        raise WovrError(f"cannot look at {arguments.clips} clips")
    statistics = read_statistics(arguments.unnormalise, arguments.stats_key) if arguments.unnormalise else None
    options = {"camera": arguments.camera} if kind == "lerobot" else {}
    with Sandbox() as sandbox:
        reader = SandboxedReader(kind, arguments.path, options, sandbox)
        keys = reader.keys()
        spread = np.unique(np.linspace(0, len(keys) - 1, min(arguments.clips, len(keys))).round().astype(int))
        clips = [reader.read(keys[i]) for i in spread]
    asked = conventions_of(arguments)
    now = merge(clips[0].conventions, asked)
    sights = [see(clip, now, statistics) for clip in clips]
    diagnosis = diagnose(sights, now, _tasks(arguments.suite or clips[0].suite))
    for finding in diagnosis.findings:
        asked |= finding.change
    flags = flags_text(asked)
    write_bytes(arguments.out, page(arguments.path.name, sights, diagnosis, now, flags).encode())
    if arguments.json:
        values = {"findings": [asdict(f) for f in diagnosis.findings], "flags": flags, "clips": diagnosis.clips,
                  "unclear": list(diagnosis.unclear), "format": kind}  # fmt: skip
        print(json.dumps(values, indent=2))
    else:
        _print(diagnosis, kind, flags, arguments)
    return 1 if diagnosis.findings else 0


def _print(diagnosis: Diagnosis, kind: str, flags: str, arguments: argparse.Namespace) -> None:
    for finding in diagnosis.findings:
        print(f"BAD {finding.fault:18s} {finding.advice}\n    {'':18s} {finding.evidence}")
    for reason in diagnosis.unclear:
        print(f"?   {reason}")
    if not diagnosis.findings:
        print(f"ok  nothing is the wrong way round in {diagnosis.clips} clips, as far as they tell")
    print(f"Import with:  wovr import {kind} {arguments.path} --run NAME {flags}".rstrip())
    print(f"Evidence: {arguments.out}")


def _tasks(suite: str) -> Sequence[Any]:
    from wovr_core.envs import libero_suites

    return libero_suites.tasks(suite) if suite in libero_suites.SUITES else ()


def page(name: str, sights: Sequence[Sight], diagnosis: Diagnosis, now: Conventions, flags: str) -> str:
    """The evidence as one HTML file that needs nothing else."""
    found = "".join(
        f"<tr><td><b>{html.escape(f.fault.replace('_', ' '))}</b></td><td>{html.escape(f.advice)}</td>"
        f"<td>{html.escape(f.evidence)}</td></tr>"
        for f in diagnosis.findings
    )
    table = f"<table><tr><th>What</th><th>Found</th><th>Evidence</th></tr>{found}</table>" if found else (
        f"<p>Nothing is the wrong way round in {diagnosis.clips} clips, as far as they tell.</p>"
    )  # fmt: skip
    unclear = "".join(f"<li>{html.escape(reason)}</li>" for reason in diagnosis.unclear)
    flags_line = f"<p>Flags to import with: <code>{html.escape(flags)}</code></p>" if flags else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Conventions of {html.escape(name)}</title>"
        f"<style>{_STYLE}</style><h1>Conventions of {html.escape(name)}</h1>{table}"
        + (f"<p>Not to be told:</p><ul>{unclear}</ul>" if unclear else "")
        + flags_line
        + "<h2>Pictures</h2><p>Above as they are read now, below as the findings would have them. In our convention "
        "the arm comes from above and left and right are swapped against what a person sees.</p>"
        + _strips(sights, diagnosis, now)
        + "<h2>Motion and actions</h2>"
        + _plots(sights, diagnosis)
        + "</html>"
    )


def _strips(sights: Sequence[Sight], diagnosis: Diagnosis, now: Conventions) -> str:
    import numpy as np
    from PIL import Image

    from wovr_core.data.formats.base import Conventions
    from wovr_core.data.formats.conventions import turn

    then = diagnosis.conventions
    correction = Conventions(rotate=now.rotate != then.rotate, flip=now.flip != then.flip, bgr=now.bgr != then.bgr)
    frames = sights[0].frames
    chosen = frames[np.linspace(0, len(frames) - 1, _SHOWN).astype(int)]
    rows = [np.concatenate(list(chosen), axis=1), np.concatenate(list(turn(chosen, correction)), axis=1)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows, axis=0)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='One clip, before and after' src='data:image/png;base64,{data}'>"


def _plots(sights: Sequence[Sight], diagnosis: Diagnosis) -> str:
    import numpy as np
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from wovr_core.data.doctor_motion import motion_of, watch

    titles = ("arm sideways (px) by dy", "arm down (px) by dz", "motion explained, by rows of shift", "gripper command",
              "actions: 1 %, 50 %, 99 %", "red minus blue (grey levels)")  # fmt: skip
    figure = make_subplots(rows=2, cols=3, subplot_titles=titles)
    motions = [motion_of(watch(sight.frames), sight.actions) for sight in sights[:_SHOWN]]
    shift = max(diagnosis.fits, key=lambda f: float(f.explained.sum())).shift if diagnosis.fits else 0
    for column, (axis, action) in enumerate(((0, 1), (1, 2)), start=1):
        x, y = [], []
        for motion in motions:
            times = np.flatnonzero(motion.seen)
            times = times[(times >= 4) & (times - shift < len(motion.actions))]
            x += motion.actions[times - shift, action].tolist()
            y += motion.flow[times, axis].tolist()
        figure.add_trace(go.Scatter(x=x, y=y, mode="markers", marker={"size": 4, "opacity": 0.5}), row=1, col=column)
    shifts, shares = [f.shift for f in diagnosis.fits], [float(f.explained.mean()) for f in diagnosis.fits]
    figure.add_trace(go.Bar(x=shifts, y=shares), row=1, col=3)
    for sight in sights[:_SHOWN]:
        figure.add_trace(go.Scatter(y=sight.actions[:, 6].tolist(), mode="lines"), row=2, col=1)
    actions = np.concatenate([sight.actions for sight in sights])
    names = ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"]
    for share in (0.01, 0.5, 0.99):
        levels = np.quantile(actions, share, axis=0).tolist() if len(actions) else []
        figure.add_trace(go.Scatter(x=names, y=levels, mode="markers"), row=2, col=2)
    from wovr_core.data.doctor import warmth

    figure.add_trace(go.Bar(y=[warmth(sight.frames) for sight in sights]), row=2, col=3)
    figure.update_layout(
        showlegend=False, height=640, margin={"l": 40, "r": 20, "t": 60, "b": 40}, template="simple_white"
    )
    return str(figure.to_html(full_html=False, include_plotlyjs=True))
