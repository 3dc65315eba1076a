"""The Audit page in a browser: filters that write themselves into the address, on a desk and on a phone."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from evalsuite.audit.services import Event, record, record_many
from tests import factories
from tests.e2e.conftest import require_accessible, settled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def log(org, alice):
    experiment = factories.make_experiment(org, name="Tone")
    record_many(
        Event("experiment.run.completed", org, alice, experiment, after={"state": "succeeded", "n": n})
        for n in range(60)
    )
    record(
        "org.updated",
        org=org,
        actor=alice,
        subject=org,
        before={"name": "Old"},
        after={"name": "<b>New</b> name"},
    )


def test_who_did_what_is_found(signed_in, org, log):
    page = signed_in
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("heading", name="Audit")).to_be_visible()
    rows = page.locator(".audit-event")
    expect(rows).to_have_count(50)
    rows.first.locator("summary").click()
    expect(rows.first.locator("ins")).to_have_text("<b>New</b> name")
    expect(rows.first.locator("del")).to_have_text("Old")
    require_accessible(page)

    page.get_by_role("link", name="Older").click()
    expect(rows).not_to_have_count(50)
    page.get_by_role("link", name="Newest").click()
    expect(rows).to_have_count(50)

    settled(page)
    page.get_by_label("Event", exact=True).fill("org")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"/audit\?event=org&"))
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON Lines").click()
    with open(download.value.path()) as file:
        assert [json.loads(line)["event"] for line in file] == ["org.updated"]
    page.get_by_label("Who").fill("nobody")
    expect(page.get_by_text("No event is like this.")).to_be_visible()
    require_accessible(page)


def test_on_a_phone_nothing_runs_out_of_the_page(signed_in, org, log):
    page = signed_in
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="Account").click()
    page.get_by_role("link", name="Audit").click()
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    require_accessible(page)
