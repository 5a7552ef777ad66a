"""Signing in and out in real Chromium: the way back to what was asked for, and a session that ends meanwhile."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from apps.bench.browser import chromium

pytestmark = [
    pytest.mark.security,
    pytest.mark.browser,
    pytest.mark.timeout(180),
]


def test_sign_in_look_lose_the_session_and_sign_out(guarded: SimpleNamespace, password: str) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{guarded.url}/?verdict=false_success")
        expect(page).to_have_title("Sign in · WoVR workbench")
        expect(page.locator("#name")).to_be_focused()
        page.keyboard.type("vic")
        page.keyboard.press("Tab")
        page.keyboard.type("not the password")
        page.keyboard.press("Enter")
        expect(page.locator("[role=alert]")).to_have_text("this name and password do not belong together")
        page.locator("#name").fill("vic")
        page.locator("#password").fill(password)
        page.keyboard.press("Enter")
        expect(page.locator(".wovr-bar .who")).to_have_text("vic · viewer", timeout=30_000)
        expect(page.locator(".wovr-card")).to_have_count(1, timeout=20_000)
        assert "verdict=false_success" in page.url, "on to what was asked for"
        assert page.evaluate("document.cookie") == ""

        page.locator(".wovr-card").click()
        page.locator(".scrubber-root[data-state=ready]").wait_for(timeout=20_000)
        page.locator(".scrubber-root").focus()
        for key in ("i", "ArrowRight", "o", "1"):
            page.keyboard.press(key)
        page.wait_for_timeout(500)
        assert not (guarded.run / "annotations.jsonl").exists(), "a viewer looks"

        page.goto(guarded.url)
        expect(page.locator(".wovr-card")).to_have_count(8, timeout=20_000)
        guarded.accounts.remove("vic")
        page.locator("button", has_text="Look again").click()
        expect(page.locator(".wovr-lost")).to_contain_text("Your session has ended")
        page.locator(".wovr-lost a").click()
        expect(page).to_have_url(re.compile("/wovr/login"))
        page.locator("#name").fill("ann")
        page.locator("#password").fill(password)
        page.keyboard.press("Enter")
        expect(page.locator(".wovr-bar .who")).to_have_text("ann · annotator", timeout=30_000)
        page.goto(f"{guarded.url}/wovr/login?next=/lineage")  # as a link from elsewhere would: straight on
        page.wait_for_url("**/lineage")
        page.locator(".wovr-bar button", has_text="Sign out").click()
        expect(page).to_have_title("Sign in · WoVR workbench")
        page.goto(guarded.url)
        expect(page).to_have_title("Sign in · WoVR workbench")
        assert errors == []
