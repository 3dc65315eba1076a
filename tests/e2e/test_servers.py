"""The page of servers in a browser: made, tested, watched and switched off, on a desk and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from llm_routing import health
from llm_routing.errors import ProviderUnavailable
from llm_routing.models import Provider
from tests import factories
from tests.e2e.conftest import require_accessible, settled
from tests.fakes.ollama import FakeOllama

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture(autouse=True)
def near(settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]


def test_a_server_from_its_making_to_its_end(signed_in, org):
    page = signed_in
    page.get_by_role("button", name=org.name).click()
    page.get_by_role("link", name="Servers").click()
    expect(page.get_by_text("No server is set up yet.")).to_be_visible()
    require_accessible(page)
    page.get_by_role("button", name="New server").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("<b>GPU</b> room")
    dialog.get_by_label("Slug").fill("gpu")
    with FakeOllama() as ollama:
        dialog.get_by_label("Address").fill(ollama.url)
        dialog.get_by_label("API key").fill("sk-canary")
        require_accessible(page)
        dialog.get_by_role("button", name="Create").click()
        expect(page.get_by_role("heading", name="<b>GPU</b> room", exact=True)).to_be_visible()
        expect(page.get_by_text("not used yet")).to_be_visible()
        assert "sk-canary" not in page.content()
        settled(page)
        page.get_by_role("button", name="Test the connection").click()
        expect(page.locator(".finding.good")).to_be_visible()
        require_accessible(page)
    endpoint = Provider.objects.get().endpoints.get()
    health.report(endpoint.pk, [ProviderUnavailable("The server refused the connection.")] * 5)
    expect(page.get_by_text("left alone")).to_be_visible()  # without anybody's doing
    expect(page.get_by_text("The server refused the connection.")).to_be_visible()
    require_accessible(page)
    page.get_by_role("button", name=f"Edit {endpoint.base_url}").click()
    page.get_by_role("dialog").get_by_label("Calls go to this address").uncheck()
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_text("switched off")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No server is set up yet.")).to_be_visible()


def test_on_a_phone_nothing_runs_out_of_the_page(signed_in, org):
    factories.make_model(slug="gpu", org=org, base_url=f"http://127.0.0.1:9/{'long/' * 30}")
    factories.make_model("big:70b", slug="hosted")
    page = signed_in
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/app/orgs/{org.pk}/providers")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Edit gpu").click()
    require_accessible(page)
