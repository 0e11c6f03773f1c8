"""Start page and status page in a real browser, during a real start: what is seen, by whom, and on what."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from .conftest import Run
from .docker import Container, until

pytestmark = pytest.mark.container

SHOWN = Path(os.environ.get("MAAS_INIT_SCREENSHOTS", "build/screenshots"))
"""Where screenshots go, for people to look at (`make screenshots`)."""
DESK, PHONE = {"width": 1100, "height": 1200}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    SHOWN.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def maas(new: Run) -> Container:
    return new().run()


def judge(page: Page, name: str) -> None:
    """Look at a page as it is now: light, dark and on a phone, and as somebody who cannot see it."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
        assert found.violations_count == 0, found.generate_report()
        page.screenshot(path=SHOWN / f"{name}-{scheme}.png")
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "it is wider than a phone"
    page.screenshot(path=SHOWN / f"{name}-phone.png")
    page.set_viewport_size({"width": DESK["width"], "height": DESK["height"]})


def visit(page: Page, url: str) -> bool:
    try:
        page.goto(url)
    except Error:
        return False
    return True


def test_start_page_can_be_read_by_everybody_and_turns_into_maas(maas: Container, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": DESK["width"], "height": DESK["height"]})
    until(lambda: visit(page, f"http://{maas.address()}:5240/MAAS/"), "an answer")
    assert page.text_content("h1") == "MAAS is starting"
    page.wait_for_selector("#services tr")
    judge(page, "start")
    assert page.locator("h1#heading").count() == 1, "it was still the start page"
    page.wait_for_selector("h1#heading", state="detached", timeout=600_000)
    page.close()


def test_status_page_can_be_read_by_everybody_and_brings_itself_up_to_date(maas: Container, browser: Browser) -> None:
    maas.until_healthy()
    page = browser.new_page(viewport={"width": DESK["width"], "height": DESK["height"]})
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(f"http://{maas.address()}:5290/")
    # MAAS starts some of its services again when it has written their configuration.
    expect(page.locator("h1")).to_have_text("MAAS is healthy", timeout=180_000)
    judge(page, "status")

    row = page.locator("#services tr", has_text="syslog:").locator("td").first
    assert row.text_content() == "ready"
    maas.execute("maas-init", "stop", "syslog")
    expect(row).to_have_text("off", timeout=60_000)
    maas.execute("maas-init", "start", "syslog")
    maas.until_healthy()
    assert told == [], "nothing was refused by the page's own policy"
    page.close()


def test_status_page_needs_no_scripts(maas: Container, browser: Browser) -> None:
    maas.until_healthy()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://{maas.address()}:5290/")
    assert page.text_content("h1") in ("MAAS is healthy", "MAAS works, but not all of it")
    assert page.locator("#services tr").count() > 20
    context.close()


def test_status_page_says_when_nobody_answers_any_more(maas: Container, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"http://{maas.address()}:5290/")
    assert not page.is_visible("#lost")
    maas.remove()
    page.wait_for_selector("#lost", state="visible", timeout=60_000)
    page.close()
