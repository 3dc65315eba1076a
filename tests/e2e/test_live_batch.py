"""A batch on the experiments page as it goes on: by the stream, by asking, and while buttons are pressed."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from playwright.sync_api import Error, expect

from experiments.api import feeds
from experiments.services import planning
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]

STREAM = "**/api/v1/**/events"
UPDATE = "**/app/**/experiments/batches/*?*"


@pytest.fixture
def experiment(org, ollama):
    model = factories.make_model(base_url=ollama.base_url, slots=4)
    factories.set_default_model(org, model)
    return factories.make_experiment(org, variants=1)


@pytest.fixture
def show(signed_in, org, alice, experiment):
    """The experiment's page with a batch under way, one cell after the other."""

    def run(cells, *, seconds, query=""):
        for number in range(1, cells + 1):
            experiment.inputs.create(key=f"case_{number}", content=f"{number} sleep-{seconds}")
        batch = planning.start_batch(experiment=experiment, author=alice, parallel=1)
        signed_in.goto(f"/app/orgs/{org.pk}/experiments/{experiment.pk}{query}")
        return batch

    return run


@pytest.fixture
def count(signed_in):
    """The figure of a state on the card."""
    return lambda state: signed_in.locator(f"[data-count={state}]")


def test_figures_come_by_the_stream_without_a_request(signed_in, embedded_worker, show, count):
    page = signed_in
    page.route(UPDATE, lambda route: None)  # never answered
    show(9, seconds="0.7")
    # Which numbers are seen on the way is left to chance: two cells may end between two looks.
    expect(page.get_by_text(re.compile("[1-8] of 9 done"))).to_be_visible()
    expect(page.get_by_text(" left", exact=False)).to_be_visible()
    expect(page.get_by_text("cells/", exact=False)).to_be_visible()
    expect(count("succeeded")).to_have_text("9")


@pytest.mark.parametrize(
    "stream",
    [
        lambda route: None,  # a proxy that holds everything back
        lambda route: route.fulfill(content_type="text/event-stream", body="retry: 200\n\n"),
    ],
    ids=["silent", "ends at once"],
)
def test_without_the_stream_the_page_asks(signed_in, embedded_worker, show, count, stream):
    page = signed_in
    page.route(STREAM, stream)
    show(5, seconds="2")
    expect(page.locator(".cell .output").first).to_have_text("echo: 1 sleep-2")
    expect(count("succeeded")).not_to_have_text("0")
    expect(page.locator(".batch-progress").get_by_text("Running", exact=True)).to_be_visible()
    expect(page.locator(".batch-progress").get_by_text("Finished")).to_be_visible()
    expect(page.locator(".cell .output")).to_have_count(5)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()


def test_only_cells_that_changed_are_put_in_anew(signed_in, embedded_worker, show):
    page = signed_in
    show(4, seconds="1")
    first = page.locator(".cell").first
    expect(first.locator(".output")).to_be_visible()
    first.evaluate("cell => { cell.dataset.untouched = 'yes' }")
    expect(page.locator(".batch-progress").get_by_text("Finished")).to_be_visible()
    expect(page.locator(".cell .output")).to_have_count(4)
    expect(first).to_have_attribute("data-untouched", "yes")


def test_a_filtered_list_gains_what_comes_to_fit(signed_in, embedded_worker, show):
    page = signed_in
    show(3, seconds="1", query="?state=succeeded")
    expect(page.locator(".cell .output")).to_have_count(3)
    expect(page.locator(".batch-progress").get_by_text("Finished")).to_be_visible()


def test_what_was_missed_while_the_page_lay_in_the_background_is_shown(
    signed_in, embedded_worker, show, count
):
    page = signed_in
    show(3, seconds="1")
    expect(count("running")).to_have_text("1")
    _hide(page, hidden=True)
    _until(lambda: not feeds._feeds)
    page.wait_for_timeout(4_000)
    assert page.locator(".cell .output").count() < 3
    _hide(page, hidden=False)
    expect(page.locator(".cell .output")).to_have_count(3)


def _hide(page, *, hidden):
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_page_that_is_left_frees_the_server(signed_in, show, org):
    show(1, seconds="1")  # nobody works on it
    _until(lambda: feeds._feeds)
    signed_in.goto(f"/app/orgs/{org.pk}/playground")
    _until(lambda: not feeds._feeds)


def test_the_stream_ends_with_the_batch(signed_in, embedded_worker, show):
    page, asked = signed_in, []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/events") else None)
    show(2, seconds="1")
    expect(page.locator(".batch-progress").get_by_text("Finished")).to_be_visible()
    page.wait_for_timeout(4_000)  # a browser comes back to a stream that ended after three seconds
    assert len(asked) == 1
    assert not feeds._feeds


def _until(is_so):
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_answer_to_a_button_finds_its_place_however_late_it_comes(signed_in, embedded_worker, show):
    page, late = signed_in, []
    page.route("**/pause", lambda route: late.append((route, route.fetch())))
    show(9, seconds="0.7")
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(3_000)  # meanwhile the page is kept up to date
    ((route, answer),) = late
    route.fulfill(response=answer)
    expect(page.get_by_text("alice paused it.")).to_be_visible()
    expect(page.locator("#run-bar").get_by_text("Paused")).to_be_visible()


def test_an_update_from_before_a_press_does_not_undo_what_it_shows(signed_in, embedded_worker, show):
    page, late = signed_in, []
    show(9, seconds="0.7")
    expect(page.locator(".cell .output").first).to_be_visible()
    page.route(UPDATE, lambda route: late.append((route, route.fetch())))
    while not late:
        page.wait_for_timeout(100)
    page.unroute(UPDATE)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("alice paused it.")).to_be_visible()
    for route, answer in late:
        with contextlib.suppress(Error):  # the page does not wait for it any more
            route.fulfill(response=answer)
    page.wait_for_timeout(500)
    expect(page.get_by_text("alice paused it.")).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_the_keyboard_stays_where_it_was(signed_in, embedded_worker, show):
    page = signed_in
    show(9, seconds="0.7")
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
