"""Accounts, sessions, throttle, rates, audit log: what they refuse, and that it holds across processes and restarts."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

pytest.importorskip("argon2")
pytest.importorskip("itsdangerous")

from workbench.server.access import Access, SignInError
from workbench.server.accounts import AccountError, Accounts, HashConfig, role_named
from workbench.server.audit_log import AuditLog
from workbench.server.roles import ForbiddenError, Role
from workbench.server.sessions import SessionConfig, Sessions
from workbench.server.throttle import Rate, RateConfig, Throttle, ThrottleConfig
from wovr_core.errors import CorruptFileError, UnknownNameError

pytestmark = pytest.mark.security

CHEAP = HashConfig(passes=1, memory_kib=8, lanes=1)
GOOD = "correct horse battery"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    found = Accounts(tmp_path / "users.json", CHEAP)
    found.add("ann", GOOD, Role.ANNOTATOR)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(tmp_path: Path, accounts: Accounts, clock: Clock) -> Access:
    return Access(
        accounts,
        Sessions(tmp_path, SessionConfig(seconds=100), clock),
        AuditLog(tmp_path / "audit.jsonl"),
        Throttle(clock=clock),
        Throttle(ThrottleConfig(free=20), clock),
        Throttle(ThrottleConfig(free=50), clock),
    )


def test_the_file_holds_no_password_and_is_its_owners_alone(accounts: Accounts) -> None:
    text = accounts.path.read_text()
    assert GOOD not in text
    assert "$argon2id$" in text
    assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600
    assert accounts.check("ann", GOOD) is not None
    for name, password in (("ann", GOOD + " "), ("ann", ""), ("bob", GOOD), ("", ""), ("Ann", GOOD)):
        assert accounts.check(name, password) is None


@pytest.mark.parametrize("name", ["", "../ann", "a b", "<b>", "-x", "a" * 65, "ann\n", "ann"])
def test_names_that_are_none_or_taken_are_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(AccountError):
        accounts.add(name, GOOD, Role.VIEWER)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_passwords_too_short_or_long_are_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(AccountError, match="10 to 1024"):
        accounts.add("bob", password, Role.VIEWER)
    with pytest.raises(AccountError):
        accounts.set_password("ann", password)
    assert accounts.check("ann", GOOD)


def test_unknown_users_and_roles_say_what_was_meant(accounts: Accounts) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ann'"):
        accounts.remove("anne")
    with pytest.raises(UnknownNameError, match="did you mean 'operator'"):
        role_named("operater")
    assert role_named("robot") is Role.ROBOT


def test_writers_do_not_overwrite_each_other(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    threads = [threading.Thread(target=Accounts(path, CHEAP).add, args=(f"u{i}", GOOD, Role.VIEWER)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [account.name for account in Accounts(path).all()] == [f"u{i}" for i in range(8)]


@pytest.mark.fault
def test_a_broken_file_lets_nobody_in(accounts: Accounts) -> None:
    accounts.path.write_text('{"users": {"ann": {"role": "emperor"}}}')
    with pytest.raises(CorruptFileError, match=r"users\.json"):
        accounts.check("ann", GOOD)
    accounts.path.write_text("{")
    with pytest.raises(CorruptFileError):
        accounts.find("ann")


def test_a_session_is_whose_it_is_until_it_ends(access: Access, clock: Clock) -> None:
    token = access.sign_in("ann", GOOD, "1.2.3.4")
    user = access.user(token)
    assert user is not None
    assert (user.name, user.role) == ("ann", Role.ANNOTATOR)
    clock.now += 99
    assert access.user(token) is not None
    clock.now += 2
    assert access.user(token) is None, "it has expired"


@pytest.mark.parametrize(
    "change",
    [
        lambda accounts: accounts.remove("ann"),
        lambda accounts: accounts.set_role("ann", Role.VIEWER),
        lambda accounts: accounts.set_password("ann", "another password"),
    ],
)
def test_a_changed_account_ends_its_sessions_from_any_process(access: Access, tmp_path: Path, change: object) -> None:
    token = access.sign_in("ann", GOOD, "1.2.3.4")
    change(Accounts(tmp_path / "users.json", CHEAP))  # type: ignore[operator]
    assert access.user(token) is None


def test_a_new_account_of_an_old_name_does_not_inherit_sessions(access: Access, accounts: Accounts) -> None:
    token = access.sign_in("ann", GOOD, "1.2.3.4")
    accounts.remove("ann")
    accounts.add("ann", "somebody else's", Role.ROBOT)
    assert access.user(token) is None


def test_tokens_cannot_be_forged_nor_moved(access: Access, tmp_path: Path) -> None:
    token = access.sign_in("ann", GOOD, "1.2.3.4")
    payload, signature = token.rsplit(".", 1)
    other = Sessions(tmp_path / "elsewhere").issue("ann", access.accounts.all()[0].stamp)
    flipped = payload[:-2] + ("AA" if payload[-2:] != "AA" else "BB")
    for bad in (
        "",
        "x",
        payload,
        f"{payload}.",
        f"{flipped}.{signature}",
        token[:-1],
        token + "A",
        other,
        "é.é",
        "." * 9,
    ):
        assert access.user(bad) is None, bad
    assert access.user(token) is not None


def test_signing_out_lasts_over_a_restart_and_sessions_do_too(access: Access, tmp_path: Path, clock: Clock) -> None:
    first, second = (access.sign_in("ann", GOOD, "1.2.3.4") for _ in range(2))
    assert first != second
    access.sign_out(first, "1.2.3.4")
    again = Access(access.accounts, Sessions(tmp_path, SessionConfig(seconds=100), clock), access.log)
    assert again.user(first) is None
    assert again.user(second) is not None
    assert stat.S_IMODE((tmp_path / "session.key").stat().st_mode) == 0o600
    (tmp_path / "session.key").unlink()
    assert Access(access.accounts, Sessions(tmp_path)).user(second) is None, "another key, no session"


def test_guessing_gets_slower_and_slower(access: Access, clock: Clock) -> None:
    for i in range(5):
        with pytest.raises(SignInError, match="do not belong together"):
            access.sign_in("ann", f"guess number {i}", "6.6.6.6")
    waits = []
    for _ in range(6):
        with pytest.raises(SignInError, match="too many tries") as refused:
            access.sign_in("ann", GOOD, "6.6.6.6")  # even the right one
        waits.append(refused.value.wait)
        clock.now += refused.value.wait
        with pytest.raises(SignInError, match="do not belong together"):
            access.sign_in("ann", "wrong again", "6.6.6.6")
    assert waits == pytest.approx([2, 4, 8, 16, 32, 64])
    assert access.sign_in("ann", GOOD, "1.2.3.4"), "the user herself, elsewhere, is not locked out"
    for _ in range(40):
        clock.now += 3600
        with pytest.raises(SignInError):
            access.sign_in("ann", "wrong again", "6.6.6.6")
    assert access.pairs.wait("ann\0" + "6.6.6.6") <= 900


def test_guessing_at_many_names_or_from_many_addresses_is_slowed_too(access: Access) -> None:
    for i in range(20):
        with pytest.raises(SignInError, match="do not belong"):
            access.sign_in(f"user{i}", "password12", "6.6.6.6")
    with pytest.raises(SignInError, match="too many tries"):
        access.sign_in("somebody", "password12", "6.6.6.6")
    for i in range(50):
        with pytest.raises(SignInError, match="do not belong"):
            access.sign_in("ann", "password12", f"7.7.7.{i}")
    with pytest.raises(SignInError, match="too many tries"):
        access.sign_in("ann", "password12", "7.7.8.1")


def test_tries_that_arrive_together_cannot_slip_through(access: Access) -> None:
    wrong = []

    def guess() -> None:
        try:
            access.sign_in("ann", "guess guess guess", "6.6.6.6")
        except SignInError as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=guess) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    checked = sum("do not belong" in text for text in wrong)
    assert len(wrong) == 40
    assert checked == 5


def test_good_sign_ins_cost_an_address_nothing(access: Access) -> None:
    for _ in range(30):
        access.sign_in("ann", GOOD, "1.2.3.4")


def test_a_rate_lets_bursts_through_and_then_counts(clock: Clock) -> None:
    rate = Rate(RateConfig(burst=3, per_second=2.0), clock)
    assert [rate.take("a") for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]
    assert rate.take("b") == 0, "each user has an own bucket"
    clock.now += 0.5
    assert rate.take("a") == 0
    assert rate.take("a") > 0
    clock.now += 3600
    assert [rate.take("a") > 0 for _ in range(4)] == [False, False, False, True], "it never holds more than a burst"


def test_the_throttle_remembers_a_bounded_number_of_keys(clock: Clock) -> None:
    throttle = Throttle(ThrottleConfig(free=0), clock)
    for i in range(10_050):
        throttle.attempt(f"k{i}")
    assert throttle.wait("k0") == 0
    assert throttle.wait("k10049") > 0
    assert len(throttle._keys) == 10_000


def test_the_log_says_who_did_what_and_what_was_refused(access: Access, tmp_path: Path) -> None:
    token = access.sign_in("ann", GOOD, "1.2.3.4")
    with pytest.raises(SignInError):
        access.sign_in("ann", "wrong", "6.6.6.6")
    user = access.user(token)
    assert user is not None
    user.require(Role.VIEWER, "look")  # not worth a line
    user.require(Role.ANNOTATOR, "flag a span")
    with pytest.raises(ForbiddenError, match=r"ann \(annotator\) may not launch a job: that takes the role operator"):
        user.require(Role.OPERATOR, "launch a job")
    access.sign_out(token, "1.2.3.4")
    entries = access.log.entries()
    assert [(entry["who"], entry["what"]) for entry in entries] == [
        ("ann", "signed in"), ("ann", "sign-in failed"), ("ann", "flag a span"), ("ann", "launch a job"),
        ("ann", "signed out"),
    ]  # fmt: skip
    assert [entry.get("allowed") for entry in entries] == [None, None, True, False, None]
    assert "wrong" not in access.log.path.read_text()
    assert token not in access.log.path.read_text()
    assert stat.S_IMODE(access.log.path.stat().st_mode) == 0o600


@pytest.mark.fault
def test_the_log_survives_a_torn_line_and_takes_no_second_one_from_a_text(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.write("ann", 'x\n{"who": "eve", "what": "forged"}', note="\u2028\x00" + "y" * 9000)
    with log.path.open("ab") as file:
        file.write(b'{"who": "torn')
    log.write("bob", "after")
    assert [entry["who"] for entry in log.entries()] == ["ann", "bob"]
    assert len(log.entries()[0]["note"]) == 500
    assert json.loads(log.path.read_bytes().splitlines()[0])["what"].startswith("x\n{")
