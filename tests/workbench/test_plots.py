"""What is drawn can be read: a colour is named once, and a number does not lie under its interval."""

from workbench import plots


def test_colours_of_divergence_are_named_once() -> None:
    rows = [
        {"rollout_id": name, "imagined_success": imagined, "real_success": real, "divergence": [0.0, 4.0]}
        for name, imagined, real in (("a", True, False), ("b", True, True), ("c", True, False), ("d", False, False))
    ]
    drawn = plots.divergence(rows).data
    assert [line.name for line in drawn] == ["false success", "other", "false success", "other"]
    assert [line.name for line in drawn if line.showlegend] == ["false success", "other"]
    assert len({line.line.color for line in drawn}) == 2


def test_successes_stand_at_the_foot_of_their_bar_where_no_interval_is() -> None:
    bars = plots.success_rates({"before": (8, 20), "after": (0, 0)}, "Real success").data
    assert [(bar.text[0], bar.insidetextanchor) for bar in bars] == [("8/20", "start"), ("0/0", "start")]
