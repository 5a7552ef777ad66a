from dataclasses import dataclass, field
from typing import Literal

import pytest

from wovr_core.config import LATER, from_dict, override, to_dict
from wovr_core.errors import UnknownNameError, WovrError


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    rate: float = 0.1
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    tasks: tuple[int, ...] = (0, 1)
    inner: Inner = field(default_factory=Inner)
    flag: bool = False


@dataclass(frozen=True)
class Grown(Outer):
    extra: Inner | None = field(default=None, metadata=LATER)
    old: str | None = None


def test_what_was_added_later_is_written_once_it_is_used():
    assert to_dict(Grown()) == to_dict(Outer()) | {"old": None}
    assert to_dict(Grown(), whole=True) == to_dict(Grown()) | {"extra": None}
    used = override(Grown(), ["extra.steps=3"])
    assert used.extra == Inner(steps=3)
    assert to_dict(used)["extra"] == to_dict(Inner(steps=3))
    assert from_dict(Grown, to_dict(Grown()), "test") == Grown()
    assert override(used, ["extra=null"]) == Grown()


def test_overrides_are_typed_and_leave_the_original_alone():
    base = Outer()
    changed = override(base, ["inner.steps=20", "inner.rate=3", "tasks=[4]", "flag=true", "name=7th", "inner.mode=b"])
    assert changed == Outer("7th", (4,), Inner(20, 3.0, "b"), True)
    assert isinstance(changed.inner.rate, float)
    assert base == Outer()


def test_json_round_trip():
    assert from_dict(Outer, to_dict(Outer(tasks=(3,))), "test") == Outer(tasks=(3,))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("inner.step=3", "unknown key 'inner.step'; did you mean 'inner.steps'"),
        ("iner.steps=3", "did you mean 'inner'"),
        ("inner.steps=many", "inner.steps = 'many'"),
        ("inner.steps=2.5", "inner.steps = 2.5"),
        ("inner.mode=c", "inner.mode = 'c'"),
        ("inner=3", "inner is a group"),
        ("name.x=3", "name has no parts"),
        ("steps", "is not of the form key=value"),
    ],
)
def test_mistakes_are_explained(assignment, message):
    with pytest.raises(WovrError) as error:
        override(Outer(), [assignment])
    assert message in str(error.value)


def test_a_checkpoints_foreign_key_is_refused():
    with pytest.raises(UnknownNameError, match="stepz"):
        from_dict(Inner, {"stepz": 3}, "some/checkpoint")
