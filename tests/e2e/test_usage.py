"""The Usage page in a browser: for those who may see it, on a desk and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from evalsuite.quotas.services import settle
from tests import factories
from tests.e2e.conftest import require_accessible
from tests.quotas.helpers import a_call, limit, used

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def history(org, alice):
    experiment = factories.make_experiment(org, name="<b>Tone</b> of voice")
    limit(org, tokens_per_day=2_000, tokens_per_month=1_500)
    settle(org, [used(a_call(user_id=alice.pk, experiment_id=experiment.pk), 1_200, 34)])
    settle(org, [used(a_call(user_id=alice.pk, model="a-model-with-a-very-long-name-indeed:70b"), 200, 66)])


def test_limits_and_use(signed_in, org, history):
    page = signed_in
    page.get_by_role("link", name="Usage").click()
    expect(page.get_by_role("heading", name="Usage")).to_be_visible()
    month = page.get_by_role("progressbar", name="Tokens per month")
    expect(month).to_have_attribute("value", "100")
    expect(page.get_by_role("progressbar", name="Tokens per day")).to_have_attribute("value", "75")
    expect(page.locator("tfoot")).to_contain_text("1,400")
    expect(page.get_by_text("used up", exact=True)).to_be_visible()
    expect(page.locator(".usage-chart")).to_have_count(2)
    expect(page.locator(".columns .out")).to_have_count(1)
    require_accessible(page)

    page.get_by_role("link", name="By experiment").click()
    expect(page.get_by_role("rowheader", name="<b>Tone</b> of voice")).to_be_visible()
    page.get_by_role("link", name="7 days").click()
    expect(page.get_by_role("link", name="By experiment")).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("rowheader", name="No experiment")).to_be_visible()


def test_on_a_phone_nothing_runs_out_of_the_page(signed_in, org, history):
    page = signed_in
    page.set_viewport_size({"width": 360, "height": 740})
    for query in ("", "?by=model", "?by=user&days=365"):
        page.goto(f"/app/orgs/{org.pk}/usage{query}")
        expect(page.get_by_role("table")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    require_accessible(page)


def test_an_org_without_use_says_so(signed_in, org):
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/usage?days=nonsense&by=nothing")
    expect(page.get_by_text("Nothing was used in this period.")).to_be_visible()
    require_accessible(page)
