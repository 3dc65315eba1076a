"""Every page of the admin: staff see and touch rows of their own org only, as their role lets them."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType

from evalsuite.orgs.models import User
from tests.rights.rules import ADMIN, ROLES_WITH, WRITE
from tests.rights.world import CALLERS, ROLES, WORDS
from tests.test_urlconf import routes

pytestmark = [pytest.mark.django_db, pytest.mark.matrix]
OBJECT = "<path:object_id>/"
PAGES = {"", "add/", f"{OBJECT}history/", f"{OBJECT}delete/", f"{OBJECT}change/", OBJECT}
# Beside those of each model: the statuses for staff with a role, for staff without one, and for root.
EXTRA = {
    "": (200, 200, 200),
    "search/": (200, 200, 200),
    "login/": (403, 403, 403),
    "logout/": (405, 405, 405),
    "password_change/": (302, 302, 302),
    "password_change/done/": (200, 200, 200),
    "jsi18n/": (200, 200, 200),
    "^(?P<app_label>orgs|audit|quotas|llm_routing|playground|experiments)/$": (200, 404, 200),
    "(?P<url>.*)$": (404, 404, 404),
    "autocomplete/": (200, 403, 200),
    "r/<path:content_type_id>/<path:object_id>/": (404, 404, 404),
    "orgs/user/<id>/password/": (403, 403, 200),
    "experiments/experimentinput/process_import/": (405, 405, 405),
    "experiments/experimentinput/import/": (200, 403, 200),
    "experiments/experimentinput/export/": (200, 403, 200),
}
FILLED = {
    "^(?P<app_label>orgs|audit|quotas|llm_routing|playground|experiments)/$": "experiments/",
    "(?P<url>.*)$": "no/such/page/",
    "autocomplete/": "autocomplete/?app_label=experiments&model_name=experimentvariant&field_name=experiment",
}
each_model = pytest.mark.parametrize("label", ADMIN)


def test_each_page_has_its_rule_and_each_rule_its_page():
    found = {path.removeprefix("admin/") for path, _ in routes() if path.startswith("admin/")}
    of_models = {f"{label.replace('.', '/')}/{page}" for label in ADMIN for page in PAGES}
    assert found == of_models | set(EXTRA)


def may(who, permission):
    if permission is None:
        return False
    return who == "superuser" or who in ROLES_WITH.get(permission, ())


def needed(label, page, method):
    """The permission for a page. To make an org and to end it is the operator's."""
    _, view, write = ADMIN[label]
    if page in ("add/", f"{OBJECT}delete/"):
        return "root" if label == "orgs.org" else write
    return write if page == f"{OBJECT}change/" and method == "POST" else view


def address(label, page, pk):
    return f"/admin/{label.replace('.', '/')}/{page.replace('<path:object_id>', pk)}"


def is_led_to_the_login(seen):
    return seen.status == 302 and seen.location.startswith("/admin/login/")


def hidden_from(who):
    """The word of the org that this person must not hear of."""
    return {"stranger": WORDS["own"], "superuser": "\0"}.get(who, WORDS["foreign"])


@each_model
def test_own_rows(caller, label):
    word = ADMIN[label][0]
    for who in CALLERS:
        side = caller.world.sides["foreign" if who == "stranger" else "own"]
        role = "owner" if who == "stranger" else who
        pk = side.ids_for(role)[word]
        for page in sorted(PAGES):
            seen = caller.call(who, "GET", address(label, page, pk))
            what = (who, page, seen.status, seen.text[:300])
            assert (seen.writes, seen.provider_calls) == ((), 0), what
            assert hidden_from(who) not in seen.text, what
            allowed = may(role, needed(label, page, "GET"))
            if who == "anonymous":
                assert is_led_to_the_login(seen), what
            elif page == OBJECT:
                assert (seen.status, seen.location.endswith(f"{pk}/change/")) == (302, True), what
            elif allowed:
                assert seen.status == 200, what
            else:  # a row that one may not see is not there
                assert seen.status in ((403, 404) if OBJECT in page else (403,)), what


@each_model
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_rows_of_another_org(caller, label, method):
    word = ADMIN[label][0]
    few = ("anonymous", "owner", "viewer")
    for who in CALLERS if method in ("GET", "POST") else few:
        if who == "superuser":
            continue
        side = caller.world.sides["own" if who == "stranger" else "foreign"]
        role = "owner" if who == "stranger" else who
        pk = side.ids_for("owner")[word]
        for page in (f"{OBJECT}history/", f"{OBJECT}delete/", f"{OBJECT}change/"):
            seen = caller.call(who, method, address(label, page, pk), {"post": "yes", "name": "x"})
            what = (who, page, method, seen.status, seen.text[:300], seen.writes)
            assert (seen.writes, seen.provider_calls) == ((), 0), what
            assert side.word not in seen.text, what
            if who == "anonymous":
                assert is_led_to_the_login(seen), what
            else:
                # Where the right to do it is asked first, the refusal says nothing of the row.
                allowed = may(role, needed(label, page, method))
                assert seen.status in ((404,) if allowed else (403, 404)), what


@each_model
def test_actions_and_changes_of_who_may_not(caller, label):
    word, _, write = ADMIN[label]
    for who in (*ROLES, "stranger", "removed"):
        pk = caller.world.sides["own"].ids_for(who)[word]
        if not may(who, write):
            at_home = who == "stranger"  # and may add rows to the own org there
            for page in (f"{OBJECT}change/", f"{OBJECT}delete/", *(() if at_home else ("add/",))):
                seen = caller.call(who, "POST", address(label, page, pk), {"post": "yes", "name": "x"})
                assert (seen.status in (403, 404), seen.writes) == (True, ()), (who, page, seen.status)
        foreign = caller.world.sides["own" if who == "stranger" else "foreign"].ids_for("owner")[word]
        for row in (foreign,) if may(who, write or WRITE) else (foreign, pk):
            for action in actions_of(label):
                seen = caller.call(who, "POST", address(label, "", ""), act_on(row, action))
                what = (who, action, seen.status, seen.writes)
                assert (seen.status < 500, seen.writes, seen.provider_calls) == (True, (), 0), what
                assert hidden_from(who) not in seen.text, what


def actions_of(label):
    return ["delete_selected", *(admin.site._registry[apps.get_model(label)].actions or ())]


def act_on(row, action):
    """With all that a page in between would ask for."""
    answers = {"post": "yes", "asked": "1", "add": "tag", "survivor": row}
    return {"action": action, "_selected_action": row, **answers}


@pytest.mark.parametrize("path", EXTRA)
def test_the_other_pages(caller, path):
    own, foreign = caller.world.sides["own"], caller.world.sides["foreign"]
    kind = ContentType.objects.get(app_label="experiments", model="experiment").pk
    for side in (own, foreign):
        filled = FILLED.get(path, path).replace("<path:content_type_id>", str(kind))
        filled = filled.replace("<path:object_id>", side.ids["experiment"]).replace("<id>", side.ids["user"])
        for who in ("anonymous", "owner", "removed", "superuser"):
            seen = caller.call(who, "GET", f"/admin/{filled}")
            what = (who, side.word, seen.status, seen.location, seen.text[:200])
            assert (seen.writes, seen.provider_calls) == ((), 0), what
            assert who == "superuser" or WORDS["foreign"] not in seen.text, what
            if who == "anonymous":
                assert seen.status in (302, 405, *((200,) if path == "jsi18n/" else ())), what
            else:
                expected = EXTRA[path][("owner", "removed", "superuser").index(who)]
                assert seen.status in (expected, 404) if side is foreign else seen.status == expected, what


def test_who_is_no_staff_has_no_page_of_it(caller):
    owner, ids = caller.world.users["owner"], caller.world.sides["own"].ids_for("owner")
    User.objects.filter(pk=owner.pk).update(is_staff=False)
    try:
        for label, (word, _, _) in ADMIN.items():
            for page in sorted(PAGES):
                seen = caller.call("owner", "GET", address(label, page, ids[word]))
                assert is_led_to_the_login(seen), (label, page)
    finally:
        User.objects.filter(pk=owner.pk).update(is_staff=True)
