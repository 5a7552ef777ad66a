"""Attacks on an app with accounts: without a session, with a wrong, old, foreign or forged one, with too low a role."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from apps.login import local_target
from workbench.scrubber.span_log import LOG_NAME, SpanLog
from workbench.server.roles import Role

pytestmark = [pytest.mark.security, pytest.mark.timeout(120)]

READS = (
    "/config", "/wovr/me", "/wovr/inspect/strips/none", "/wovr/scrubber/packs/none",
    "/gradio_api/queue/data?session_hash=s", "/gradio_api/heartbeat/s1", "/gradio_api/startup-events",
    "/gradio_api/app_id", "/theme.css",
    "/static/img/logo.svg", "/wovr/plotly-0000.js",
)  # fmt: skip
SENDS = ("/gradio_api/component_server", "/gradio_api/queue/join", "/gradio_api/run/show", "/gradio_api/reset")
EDIT = {
    "event": "e1", "op": "put", "version": 1, "rollout": "a/imagine/r-false",
    "span": {"id": "s1", "start": 1, "end": 4, "label": "other", "severity": 1, "note": "x"},
}  # fmt: skip


def test_without_a_session_there_is_a_login_page_and_nothing_else(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    for path in ("/", "/?rollout=a/imagine/r-false&f=3"):
        reply = client.ask(path, Accept="text/html")
        assert reply.status == 303
        assert reply.headers["location"].startswith("/wovr/login?next=%2F")
        assert client.ask(path).status == 401
    for path in READS:
        assert client.ask(path).status == 401, path
    for path in SENDS:
        assert client.ask(path, b"{}", Content_Type="application/json").status == 401, path
    page = client.ask("/wovr/login")
    assert page.status == 200
    assert b"r-false" not in page.body


def test_cancelling_is_closed_with_or_without_login(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    body = json.dumps({"session_hash": "s1", "fn_index": 0, "event_id": "e"}).encode()
    assert client.ask("/gradio_api/cancel", body, Content_Type="application/json").status == 403
    client.sign_in("rob")
    assert client.ask("/gradio_api/cancel", body, Content_Type="application/json").status == 403


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    reply = client.sign_in("ann")
    assert reply.status == 303
    attributes = [part.strip().lower() for part in reply.headers["set-cookie"].split(";")[1:]]
    assert {"httponly", "samesite=strict", "path=/", "max-age=600"} <= set(attributes)
    assert client.ask("/wovr/me").json() == {"name": "ann", "role": "annotator", "login": True}
    assert client.ask("/").status == 200


def test_wrong_passwords_are_refused_slowed_and_written_down(guarded: SimpleNamespace, password: str) -> None:
    client = guarded.client()
    told = set()
    for name in ("ann", "nobody", "ann", "nobody", "ann", "ann", "ann"):
        reply = client.sign_in(name, "wrong wrong wrong")
        assert reply.status == 401
        assert "set-cookie" not in reply.headers
        told.add(reply.body)
    assert len(told) == 1, "a wrong name and a wrong password look alike"
    reply = client.sign_in("ann", password)
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) >= 2
    assert b"too many tries" in reply.body
    guarded.clock.now += 3
    assert client.sign_in("ann", password).status == 303
    log = [(entry["who"], entry["what"]) for entry in guarded.access.log.entries()]
    assert log.count(("ann", "sign-in failed")) == 5
    assert log[-1] == ("ann", "signed in")
    assert "wrong wrong" not in guarded.access.log.path.read_text()


def test_a_made_up_forwarded_address_does_not_reset_the_throttle(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    for i in range(5):
        client.headers = {"X-Forwarded-For": f"9.9.9.{i}", "Forwarded": f"for=9.9.9.{i}"}
        assert client.sign_in("ann", "wrong wrong wrong").status == 401
    assert client.sign_in("ann", "wrong wrong wrong").status == 429
    assert {entry["address"] for entry in guarded.access.log.entries()} == {"127.0.0.1"}


def test_a_planted_session_is_not_taken_over(guarded: SimpleNamespace) -> None:
    mallory, victim = guarded.client(), guarded.client()
    mallory.sign_in("vic")
    planted = mallory.cookie
    victim.cookie = planted
    victim.sign_in("opa")
    assert victim.cookie != planted
    mallory.cookie = planted
    assert mallory.ask("/wovr/me").status == 401, "the planted session ended when somebody else signed in over it"
    mallory.cookie = "wovr_session=chosen-by-mallory"
    assert mallory.ask("/wovr/me").status == 401
    mallory.sign_in("vic")
    assert "chosen-by-mallory" not in mallory.cookie


def test_sessions_expire_end_and_cannot_be_forged(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    client.sign_in("ann")
    kept = client.cookie
    name, _, token = kept.partition("=")
    for bad in (token[:-2] + "xx", token + ".x", token.replace(".", "", 1), '"' + token, "", "a=b", "\\x00"):
        client.cookie = f"{name}={bad}"
        assert client.ask("/wovr/me").status == 401, bad
    client.cookie = kept
    assert client.ask("/wovr/me").status == 200
    assert client.ask("/wovr/logout", b"").status == 303
    assert client.ask("/wovr/me").status == 401, "signed out, though the browser kept the cookie"
    client.sign_in("ann")
    guarded.clock.now += 601
    assert client.ask("/wovr/me").status == 401


def test_a_changed_role_counts_at_once(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    client.sign_in("opa")
    guarded.accounts.set_role("opa", Role.VIEWER)
    assert client.ask("/wovr/me").status == 401
    client.sign_in("opa")
    assert client.ask("/wovr/me").json()["role"] == "viewer"


def test_a_hidden_endpoint_called_directly_checks_the_role(guarded: SimpleNamespace) -> None:
    log = SpanLog(guarded.run / LOG_NAME)
    viewer, annotator = guarded.client(), guarded.client()
    viewer.sign_in("vic")
    component = viewer.component("scrubber_edit")
    refused = viewer.call(component, "scrubber_edit", EDIT).json()
    assert not refused["ok"]
    assert "reading only" in refused["error"]
    assert log.spans("r-false") == []
    forged = viewer.call(
        component, "scrubber_edit", {**EDIT, "author": "ann", "can_edit": True, "role": "robot"}
    ).json()
    assert not forged["ok"]
    assert log.spans("r-false") == []
    annotator.sign_in("ann")
    assert annotator.call(component, "scrubber_edit", {**EDIT, "author": "opa"}).json()["ok"]
    assert [(span.id, span.author) for span in log.spans("r-false")] == [("s1", "ann")], "who did it is who signed in"


def test_only_server_functions_can_be_called(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    client.sign_in("rob")
    component = client.component("gallery")
    for function in ("__init__", "postprocess", "get_config", "unrender", "__class__", "load_event_to_dict"):
        assert client.call(component, function, {}).status in (404, 422, 500), function
    assert "error" in client.call(component, "gallery", {"filters": {"__class__": ["x"]}}).json()
    assert "error" in client.call(component, "gallery", ["not", "a", "query"]).json()


def test_labels_are_of_the_guideline_or_refused(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    client.sign_in("ann")
    component = client.component("scrubber_edit")
    for label in ("<script>alert(1)</script>", "other\n", "", "x" * 10_000, None, 7, ["other"]):
        edit = {**EDIT, "span": {**EDIT["span"], "label": label}}  # type: ignore[dict-item]
        assert not client.call(component, "scrubber_edit", edit).json()["ok"], label
    assert SpanLog(guarded.run / LOG_NAME).spans("r-false") == []


def test_another_site_can_neither_sign_in_nor_out_nor_edit(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    client.sign_in("ann")
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        for path in ("/wovr/login", "/wovr/logout", *SENDS):
            assert client.ask(path, b"name=vic&password=x", **headers).status == 403, path
    assert client.ask("/wovr/me").status == 200


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
        "/\r\nX: y", "/\tevil", "evil.example", "", "/wovr/logout", "http:/evil.example", "/\u2028",
    ],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(target: str) -> None:
    assert local_target(target) == "/"


def test_signing_in_goes_on_where_it_was_asked_for(guarded: SimpleNamespace) -> None:
    assert guarded.client().sign_in("ann", next="/?rollout=a/rl/x&f=3").headers["location"] == "/?rollout=a/rl/x&f=3"
    reply = guarded.client().sign_in("ann", next="https://evil.example/\r\nX: y")
    assert reply.headers["location"] == "/"
    assert "x" not in reply.headers


def test_the_login_page_holds_texts_as_texts_and_frames_nowhere(guarded: SimpleNamespace) -> None:
    client = guarded.client()
    evil = "/?a=%22%3E%3Cscript%3E&b='><script>"
    page = client.ask("/wovr/login?next=/%3Fa=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert b"<script>alert" not in page.body
    assert b"<script>" not in client.sign_in('"><script>', next=evil).body
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert local_target("/review?q=1") == "/review?q=1"


def test_denied_words_reach_the_log_as_one_line(guarded: SimpleNamespace) -> None:
    guarded.client().sign_in('ann"\n{"who": "eve"}', "wrong wrong wrong")
    entries = guarded.access.log.entries()
    assert len(entries) == 1
    assert entries[0]["who"].startswith("ann")
