"""The page of API keys in a browser: made, shown once, copied, used and revoked."""

from __future__ import annotations

import pytest
import requests
from playwright.sync_api import expect

from evalsuite.orgs.models import ApiKey
from tests import factories
from tests.e2e.conftest import require_accessible, settled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def status(site, org, token):
    url = f"{site.url}/api/v1/orgs/{org.pk}/experiments"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code


def test_a_key_from_its_making_to_its_end(signed_in, site, org):
    page = signed_in
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=org.name).click()
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_text("No keys yet.")).to_be_visible()
    require_accessible(page)

    page.get_by_role("button", name="New key").click()
    create = page.get_by_role("button", name="Create")
    expect(create).to_be_disabled()
    page.get_by_label("Name").fill("<b>Nightly</b> runs")
    page.get_by_label("Use the playground").check()
    require_accessible(page)
    create.click()

    made = page.get_by_role("dialog")
    expect(made).to_contain_text("it is not shown again")
    token = made.locator("#key-token").inner_text()
    assert token.startswith("evs_")
    require_accessible(page)
    made.get_by_role("button", name="Copy").click()
    expect(made.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == token
    made.get_by_role("button", name="Done").click()
    expect(page.locator("dialog[data-shown-once]")).to_have_count(0)
    assert token not in page.content()
    assert ApiKey.objects.get().permissions == ["org:experiments:read", "org:playground:use"]

    assert status(site, org, token) == 200
    page.reload()
    assert token not in page.content()
    expect(page.get_by_role("rowheader", name="<b>Nightly</b> runs")).to_be_visible()
    expect(page.get_by_text("never")).to_have_count(0)

    page.get_by_role("button", name="Revoke <b>Nightly</b> runs").click()
    require_accessible(page)
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.locator("#snackbar")).to_contain_text("is revoked.")
    expect(page.get_by_role("cell", name="revoked")).to_be_visible()
    settled(page)
    require_accessible(page)
    assert status(site, org, token) == 401


def test_without_a_permission_there_is_no_key(signed_in, org, refusals):
    refusals.add(400)
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/api-keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("CI")
    page.get_by_label("Read experiments and results").uncheck()
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#snackbar")).to_contain_text("Choose at least one.")
    assert not ApiKey.objects.exists()


def test_on_a_phone_nothing_runs_out_of_the_page(signed_in, org, alice):
    from evalsuite.orgs import api_keys

    for name in ("ci", "a-name-that-is-as-long-as-names-may-be-" * 3):
        api_keys.create_key(org=org, actor=alice, name=name, permissions=["org:experiments:write"])
    page = signed_in
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/app/orgs/{org.pk}/api-keys")
    expect(page.get_by_role("table")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    require_accessible(page)


def test_who_may_not_manage_keys_is_not_led_there(signed_in, org, alice):
    alice.memberships.update(role="editor")
    page = signed_in
    page.goto(f"/app/orgs/{org.pk}/experiments")
    page.get_by_role("button", name=org.name).click()
    expect(page.get_by_role("link", name="API keys")).to_have_count(0)
    assert factories.PASSWORD not in page.content()
