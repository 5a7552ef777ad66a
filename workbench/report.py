"""The HTML report of a run: one self-contained file that a newcomer understands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import plots
from workbench.film_strips import data_uri, film_strip
from workbench.run_data import RunData
from wovr_core.files import write_bytes
from wovr_core.pipeline import stages_of
from wovr_core.rounds import in_rounds
from wovr_core.statistics import format_rate
from wovr_core.types import CHUNK, Frames

STRIPS = 4
_NEXT = """\
wovr app                                        # scrub these rollouts frame by frame, flag what is wrong
wovr run pipeline --recipe cpu                  # three tasks with one policy: hours, resumable
wovr run pipeline --recipe demo --run other --set tasks=[4]   # another task
wovr run list                                   # the stages, one by one"""


def write_report(run: Path | str) -> Path:
    """Write `report.html` into the run's folder; returns its path. Stages that have not run are left out."""
    data = RunData(Path(run))
    path = data.path / "report.html"
    write_bytes(path, render(data).encode())
    return path


def render(data: RunData) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader
    from plotly.offline import get_plotlyjs

    template = Environment(loader=PackageLoader("workbench"), autoescape=True).get_template("report.html")
    config = data.description["config"]
    machine = data.description["machine"]
    return template.render(
        name=data.name,
        recipe=data.description["recipe"],
        seed=config["seed"],
        tasks=_tasks(data),
        machine=f"{machine['processor']}, {machine['cores']} cores",
        minutes=f"{sum(s.seconds for s in data.stages.values()) / 60:.1f}",
        cards=_cards(data),
        strips=_strips(data),
        audit=_audit(data),
        plots=[figure.to_html(full_html=False, include_plotlyjs=False) for figure in _plots(data)],
        pace=_pace(data),
        next=_NEXT,
        description=json.dumps(data.description, indent=1),
        plotly_script=f"<script>{get_plotlyjs()}</script>",
    )


def _tasks(data: RunData) -> str:
    config = data.description["config"]
    tasks = ", ".join(str(task) for task in config["tasks"])
    return f"{config['env']['suite']}, task{'s' if len(config['tasks']) > 1 else ''} {tasks}"


def _cards(data: RunData) -> list[dict[str, str]]:
    cards = []
    for stage, label in (
        ("evaluate_base", "real success of the base policy"),
        ("evaluate", "after practice in imagination"),
    ):
        outputs = data.outputs(stage)
        if outputs:
            cards.append({"value": f"{outputs['successes']}/{outputs['trials']}", "label": label})
    audit = data.outputs("audit")
    if audit:
        false, imagined = audit["false_success"]
        cards.append({"value": f"{false}/{imagined}", "label": "imagined successes that were false"})
    rounds = [outputs for stage in _practice(data) if (outputs := data.outputs(stage))]
    if rounds:
        informative, groups = (sum(o[k] for o in rounds) for k in ("informative_groups", "groups"))
        cards.append({"value": f"{informative}/{groups}", "label": "groups of rollouts that taught something"})
    imagine = data.outputs("imagine")
    if imagine:
        cards.append({"value": f"{imagine['frames_per_second']:.0f}", "label": "imagined frames a second"})
    return cards


def _strips(data: RunData) -> list[dict[str, str]]:
    return [_strip(data, row) for row in telling_rows(data)[:STRIPS]]


def telling_rows(data: RunData) -> list[dict[str, Any]]:
    """The audited rollouts, the most telling ones first: one of each kind of outcome, then the others."""
    rows = sorted(data.audit_rows(), key=lambda r: (-max(r["divergence"]), r["rollout_id"]))
    kinds: dict[tuple[bool, bool], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["imagined_success"], row["real_success"]), []).append(row)
    order = [(True, False), (True, True), (False, True), (False, False)]
    # The worst where imagination erred, the most faithful where it was right.
    chosen = [kinds[kind].pop(0 if kind[0] != kind[1] else -1) for kind in order if kinds.get(kind)]
    spare = [row for kind in order for row in kinds.get(kind, [])]
    return [*chosen, *spare]


def strip_picture(data: RunData, row: Mapping[str, Any]) -> Frames:
    """Real over imagined, up to a chunk past the imagined success: what comes later is masked in training."""
    end = row["depth"] + CHUNK + 1
    return film_strip([data.replay(row["rollout_id"]).frames[:end], data.rollout(row["rollout_id"]).frames[:end]])


def _strip(data: RunData, row: Mapping[str, Any]) -> dict[str, str]:
    rollout = data.rollout(row["rollout_id"])
    verdicts = {
        (True, False): ("false success: imagined, not real", "false"),
        (True, True): ("success, imagined and real", "true"),
        (False, True): ("missed success: real, not imagined", "false"),
        (False, False): ("failure, imagined and real", "soft"),
    }
    verdict, kind = verdicts[(row["imagined_success"], row["real_success"])]
    reason = rollout.info["keyframe"].replace("_", " ")
    caption = (
        f"“{rollout.task.instruction}”, from frame {rollout.start.step} ({reason}), "
        f"{len(rollout.actions)} imagined actions, largest difference {max(row['divergence']):.1f} of 255"
    )
    image = data_uri(strip_picture(data, row))
    return {"verdict": verdict, "kind": kind, "caption": caption, "image": image, "alt": f"{verdict}; {caption}"}


def _audit(data: RunData) -> dict[str, Any] | None:
    audit = data.outputs("audit")
    if audit is None:
        return None
    return {
        "all": format_rate(*audit["false_success"]),
        "by_depth": [(label, format_rate(*rate)) for label, rate in audit["by_depth"].items()],
        "by_task": [(label, format_rate(*rate)) for label, rate in audit["by_task"].items()],
        "false_failure": format_rate(*audit["false_failure"]),
    }


def _practice(data: RunData) -> list[str]:
    """The rounds of practice, as far as the run has come."""
    return ["rl", *in_rounds(data.path, "rl_evolved")]


def _plots(data: RunData) -> Sequence[Any]:
    figures = []
    rates = {
        label: (outputs["successes"], outputs["trials"])
        for stage, label in (("evaluate_base", "base"), ("evaluate", "after RL in imagination"))
        if (outputs := data.outputs(stage))
    }
    if rates:
        figures.append(plots.success_rates(rates, "Real success, LIBERO's own initial states"))
    world_model = data.outputs("world_model")
    if world_model:
        figures.append(plots.closed_loop_quality(world_model["quality"]))
    rows = data.audit_rows()
    if rows:
        figures.append(plots.divergence(rows))
    updates = (line for stage in _practice(data) for line in data.metrics(stage, "training"))
    rl = [line | {"step": i} for i, line in enumerate(updates, 1)]
    if rl:
        keys = {"imagined_success_rate": "imagined success", "clip_fraction": "clipped tokens"}
        figures.append(plots.curve(rl, keys, "Masked GRPO in imagination", "share", x="update"))
    sft = data.metrics("sft", "training")
    if sft:
        figures.append(plots.curve(sft, {"loss": "cross-entropy"}, "Base policy: imitation", "loss"))
    for phase, title, keys in (
        ("autoencoder", "Autoencoder", {"ae/psnr": "whole frame", "ae/psnr_moving": "what moves"}),
        ("transformer", "World model: rectified flow", {"wm/loss": "loss"}),
    ):
        lines = data.metrics("world_model", phase)
        if lines:
            figures.append(plots.curve(lines, keys, title, "PSNR (dB)" if phase == "autoencoder" else "loss"))
    reward = data.metrics("reward", "training")
    if reward:
        figures.append(plots.curve(reward, {"reward/loss": "cross-entropy"}, "Reward classifier", "loss"))
    stages = stages_of(len(_practice(data)) + 1)  # the last round may not have begun
    seconds = {name: data.stages[name].seconds for name in stages if name in data.stages}
    if seconds:
        figures.append(plots.time_spent(seconds))
    return figures


def _pace(data: RunData) -> dict[str, Any] | None:
    refine = data.outputs("refine")
    if refine is None:
        return None
    labels = {
        "world_model_error": ("world model: error of what moves (0-255)", "world_model_promoted"),
        "reward_log_loss": ("reward classifier: cross-entropy", "reward_promoted"),
    }
    rows = [
        {
            "label": label,
            "before": f"{refine['before'][key]:.3f}",
            "after": f"{refine['after'][key]:.3f}",
            "verdict": "promoted" if refine[promoted] else "kept the old one",
        }
        for key, (label, promoted) in labels.items()
    ]
    return {"episodes": refine["real_episodes"], "rows": rows}
