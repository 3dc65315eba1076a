"""The admin in a browser under our policy: nothing of it is refused, and it works as its theme means it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from evalsuite.orgs.models import User
from llm_routing.models import Provider
from tests.admin.helpers import PAGES, fill, url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def operator(signed_in, org, alice):
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    fill(org, alice)
    return signed_in


def test_every_list_and_form_draws_without_a_refusal(operator):
    """The page of the fixture fails on whatever the browser reports."""
    for path in ("/admin/", "/admin/experiments/", "/admin/password_change/done/"):
        operator.goto(path, wait_until="load")
    for model in PAGES:
        operator.goto(url(model, "changelist"), wait_until="load")
        expect(operator.locator("#content")).to_be_visible()
        row = model.objects.first()
        operator.goto(url(model, "change", row.pk), wait_until="load")
        expect(operator.locator("#content")).to_be_visible()


def test_its_menus_and_colours_work(operator):
    page = operator
    page.goto(url(Provider, "changelist"))
    colour = "getComputedStyle(document.documentElement).getPropertyValue('--color-primary-600')"
    assert page.evaluate(colour) == "#4355b9"
    page.locator("[x-on\\:click='openUserLinks = !openUserLinks']").click()
    page.locator("[x-on\\:click=\"switchTheme('dark')\"]").first.click()
    expect(page.locator("html.dark")).to_have_count(1)


def test_under_the_policy_no_script_of_a_page_runs(operator, chromium, site):
    """In a context of its own: here the browser shall report."""
    context = chromium.new_context(base_url=site.url, storage_state=operator.context.storage_state())
    page = context.new_page()
    page.goto(url(Provider, "changelist"))
    page.evaluate(
        """() => {
          window.refused = [];
          document.addEventListener("securitypolicyviolation", (one) => refused.push(one.effectiveDirective));
          const holder = document.createElement("div");
          document.body.append(holder);
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          holder.append(script);
          holder.insertAdjacentHTML("beforeend", "<img src=/static/none onerror='window.ran = true'>");
        }"""
    )
    page.wait_for_function("refused.length >= 2")
    assert page.evaluate("window.ran") is None
    context.close()
