"""Inviting by link in browsers, from the link's making to the new member's first page, and roles."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from evalsuite.orgs.models import Invitation
from tests import factories
from tests.e2e.conftest import require_accessible, settled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def stranger(chromium, site):
    """Somebody else's browser."""
    context = chromium.new_context(base_url=site.url, viewport={"width": 390, "height": 844})
    yield context.new_page()
    context.close()


def make_link(page, org) -> str:
    """As rater, for `<b>bob</b>`; the link is shown, copied, and gone."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=org.name).click()
    page.get_by_role("link", name="Members").click()
    expect(page.get_by_text("Nobody has been invited by link yet.")).to_be_visible()
    require_accessible(page)
    page.get_by_role("button", name="Invite").click()
    page.get_by_role("dialog").get_by_label("Rater").check()
    page.get_by_role("dialog").get_by_label("For whom").fill("<b>bob</b>")
    require_accessible(page)
    page.keyboard.press("Enter")
    made = page.get_by_role("dialog", name="Invitation as rater")
    link = made.locator("#invitation-link").inner_text()
    require_accessible(page)
    made.get_by_role("button", name="Copy").click()
    expect(made.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == link
    made.get_by_role("button", name="Done").click()
    expect(page.locator("dialog[data-shown-once]")).to_have_count(0)  # a moment after it has closed
    assert link not in page.content()
    expect(page.get_by_text("Rater, for <b>bob</b>")).to_be_visible()
    return link


def sign_up(stranger, link, org) -> None:
    """With the second password wrong at first."""
    stranger.goto(link)
    expect(stranger.get_by_role("heading", name=f"Join {org.name}")).to_be_visible()
    require_accessible(stranger)
    stranger.get_by_label("User name").fill("bob")
    stranger.get_by_label("Password", exact=True).fill("another-good-horse-9")
    stranger.get_by_label("The same again").fill("another-good-horse-8")
    stranger.get_by_role("button", name="Sign up and join").click()
    expect(stranger.get_by_text("The two password fields")).to_be_visible()
    require_accessible(stranger)
    stranger.get_by_label("Password", exact=True).fill("another-good-horse-9")
    stranger.get_by_label("The same again").fill("another-good-horse-9")
    stranger.get_by_label("The same again").press("Enter")
    stranger.wait_for_url(f"**/orgs/{org.pk}/experiments")


def test_from_a_link_to_a_member_and_out_again(signed_in, stranger, org):
    page = signed_in
    link = make_link(page, org)
    sign_up(stranger, link, org)
    expect(stranger.locator("#snackbar")).to_contain_text(f"You are a member of {org.name} now.")
    stranger.get_by_role("button", name=org.name).click()
    expect(stranger.get_by_role("link", name="Members")).to_have_count(0)
    assert stranger.goto(link).status == 404
    assert org.name not in stranger.content()

    page.reload()
    expect(page.get_by_text("used", exact=True)).to_be_visible()
    page.get_by_role("button", name="Change the role of bob").click()
    page.get_by_role("dialog").get_by_label("Editor").check()
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.locator("#snackbar")).to_contain_text("bob is editor now.")
    settled(page)
    page.get_by_role("button", name="Remove bob").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="bob", exact=True)).to_have_count(0)
    assert stranger.goto(f"/app/orgs/{org.pk}/experiments").status == 404


def test_whoever_has_an_account_signs_in_and_comes_back(page, org, alice):
    from evalsuite.orgs import invitations

    _, token = invitations.invite(org=org, actor=alice, role="viewer")
    factories.make_user("bob")
    page.goto(f"/join/{token}")
    page.get_by_role("link", name="I have an account").click()
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    require_accessible(page)
    page.get_by_role("button", name="Join as bob").click()
    page.wait_for_url(f"**/orgs/{org.pk}/experiments")
    assert Invitation.objects.get().used_by.username == "bob"


def test_the_last_owner_is_told_why_not_and_a_phone_has_room(signed_in, org, refusals):
    refusals.add(409)
    for name in ("bob", "a.name-that-is-as-long-as-names-may-be-" * 3):
        factories.make_user(name, org=org, role="viewer")
    page = signed_in
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/app/orgs/{org.pk}/members")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Remove alice").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("#snackbar")).to_contain_text("The last owner stays")
    page.keyboard.press("Escape")
    page.get_by_label("Find").fill("bob")
    expect(page.get_by_role("button", name="Remove alice")).to_have_count(0)
    require_accessible(page)
