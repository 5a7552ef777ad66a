"""Names of the stages of several rounds."""

from pathlib import Path

from wovr_core.pipeline import STAGES, stages_of
from wovr_core.rounds import in_rounds, plain_stage, round_stages


def test_the_last_round_has_the_plain_names_however_many_there_are() -> None:
    assert round_stages(2, 2) == round_stages(4, 4) == ("collect_evolved", "refine", "keyframes_evolved", "rl_evolved")
    assert round_stages(3, 4) == ("collect_evolved_3", "refine_3", "keyframes_evolved_3", "rl_evolved_3")


def test_two_rounds_are_the_listed_stages_and_further_ones_lie_between() -> None:
    assert stages_of(2) == list(STAGES)
    more = stages_of(4)
    assert [name for name in more if name in STAGES] == list(STAGES)
    assert more[more.index("rl") + 1 : more.index("collect_evolved")] == [*round_stages(2, 4), *round_stages(3, 4)]


def test_a_round_between_is_known_by_its_number(tmp_path: Path) -> None:
    assert plain_stage("rl_evolved_3") == "rl_evolved"
    assert plain_stage("collect_base") == "collect_base"
    assert plain_stage("pilot_01") == "pilot_01"
    for name in ("refine", "refine_10", "refine_2", "refined_3", "refine_x"):
        (tmp_path / name).mkdir()
    assert in_rounds(tmp_path, "refine") == ["refine_2", "refine_10", "refine"]
