"""A browser that reports: no test passes with a console error, a blocked resource or a foreign request."""

from __future__ import annotations

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import expect, sync_playwright

# The shell is the same browser without its own windows and pages: a third of the work.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
expect.set_options(timeout=15_000)  # a busy machine may take its time

FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def refusals():
    """Statuses that the test provokes: browsers report each to the console as an error."""
    return set()


@pytest.fixture
def page(chromium, site, refusals):
    """A page at the site's login. At the end it must have been quiet."""
    context = chromium.new_context(
        base_url=site.url, viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    )
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: _note_error(message, refusals, trouble))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: _note_foreign(request.url, site.url, trouble))
    yield page
    context.close()
    assert trouble == []


def _note_error(message, refusals: set[int], trouble: list[str]) -> None:
    if message.type == "error" and not any(f"with a status of {one} " in message.text for one in refusals):
        trouble.append(message.text)


def _note_foreign(url: str, home: str, trouble: list[str]) -> None:
    if not url.startswith((home, "data:", "blob:")):
        trouble.append(f"a request left the site: {url}")


@pytest.fixture
def signed_in(page, site, alice):
    """Alice's first page after signing in, by a session that was not begun in the browser."""
    client = Client()
    client.force_login(alice)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": site.url}])
    page.goto("/")
    page.wait_for_url("**/app/**")
    return page


# The transition of an element that a swap takes away may never say that it has finished.
FADED = """Promise.race([
  Promise.allSettled(
    document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished)),
  new Promise((resolve) => setTimeout(resolve, 2000)),
])"""


def require_accessible(page) -> None:
    """No violation that axe finds in the light scheme, and none of colours in the dark one."""
    for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)
        found = violations(page, rules)
        if found:  # it may have looked at what was just being swapped in: what is wrong is so a second later
            page.wait_for_timeout(1000)
            found = violations(page, rules)
        assert found == [], f"{page.url} ({scheme})"
    page.emulate_media(color_scheme="light")


def violations(page, rules: list[str] | None) -> list[tuple[str, list[str]]]:
    """By these rules of axe's, or by all."""
    page.wait_for_timeout(250)  # colours are drawn anew
    page.evaluate(FADED)
    options = {"runOnly": {"type": "rule", "values": rules}} if rules else None
    found = Axe().run(page, options=options).response["violations"]
    return [(item["id"], [node["html"][:200] for node in item["nodes"]]) for item in found]


def settled(page):
    """Wait until htmx listens to what it has swapped in: some 20 ms, in which only a test is fast enough."""
    busy = ".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added"
    expect(page.locator(busy)).to_have_count(0)
