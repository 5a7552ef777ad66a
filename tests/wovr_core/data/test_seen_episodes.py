from wovr_core.data.seen_episodes import SeenEpisodes


def test_new_episodes_join_at_the_end_and_are_practised_on_first():
    seen = SeenEpisodes.before_practice(("base", "demos"), ("b", "d"))
    assert seen.newest_first == (("base", "demos"), ("b", "d"))
    later = seen.joined_by("second", "2").joined_by("third", "3")
    assert later.folders == ("base", "demos", "second", "third"), "a folder keeps its number"
    assert later.newest_first == (("third", "second", "base", "demos"), ("3", "2", "b", "d"))
    assert seen.folders == ("base", "demos")
