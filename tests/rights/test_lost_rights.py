"""A right that is lost is lost at the next request, on every route, with a token and with a session alike."""

from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction

from evalsuite import throttle
from evalsuite.orgs.models import Membership, User
from tests.rights.rules import API, CONSOLE, ROLES_WITH
from tests.rights.test_matrix import ask
from tests.rights.world import CALLERS, WORDS
from tests.test_urlconf import routes

pytestmark = pytest.mark.django_db


def remove(user):
    Membership.objects.filter(user=user).delete()


def lower_role(user):
    Membership.objects.filter(user=user).update(role="viewer")


def switch_off(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user):
    user = User.objects.get(pk=user.pk)
    user.set_password("another-correct-horse")
    user.save()


def end_session(user):
    Session.objects.all().delete()


LOSSES = {  # what is answered then: by a token, and by a session
    remove: (404, 404),
    lower_role: (403, 403),
    switch_off: (401, 302),
    change_password: (401, 302),
    end_session: (None, 302),  # a token has no session
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_the_next_request(caller, loss):
    owner = caller.world.users["owner"]
    ids = caller.world.sides["own"].ids_for("owner")
    statuses = dict(zip(("api", "app"), LOSSES[loss], strict=True))
    with transaction.atomic():
        loss(owner)
        for door, rules in (("api", API), ("app", CONSOLE)):
            for rule in rules:
                if statuses[door] is None or (loss is lower_role and "viewer" in ROLES_WITH[rule.permission]):
                    continue
                seen = ask(caller, door, rule, "owner", ids)
                what = (rule.method, rule.path, seen.status, seen.text[:200])
                assert (seen.status, seen.writes, seen.provider_calls) == (statuses[door], (), 0), what
        transaction.set_rollback(True)


ACCOUNT = {  # every address that belongs to no org: anonymous, and signed in
    "": (302, 302),
    "login": (200, 302),
    "join/<str:token>": (404, 404),
    "logout": (405, 405),
    "account/password": (302, 200),
    "account/password/done": (302, 200),
    "api/v1/schema": (200, 200),
    "api/v1/docs": (200, 200),
    "api/v1/auth/token": (405, 405),
    "api/v1/auth/token/refresh": (405, 405),
    "api/v1/auth/logout": (405, 405),
    "api/v1/me": (401, 200),
    "api/v1/orgs": (401, 200),
    "api/v1/invitations/accept": (401, 405),
    "app/": (302, 302),
    "healthz": (200, 200),
    "readyz": (200, 200),
    "metrics": (404, 404),  # from elsewhere than this machine
}


def test_each_address_without_an_org_has_its_rule():
    found = {path for path, _ in routes() if "<str:org_id>" not in path and not path.startswith("admin/")}
    assert found == set(ACCOUNT)


@pytest.mark.parametrize("path", ACCOUNT)
def test_what_belongs_to_no_org_tells_of_no_other(caller, path):
    for who in CALLERS:
        throttle._local.cache_clear()  # each of them may try some links
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
            seen = caller.call(who, method, f"/{path}", REMOTE_ADDR="203.0.113.7")
            what = (who, method, seen.status, seen.text[:200])
            hidden = {"stranger": [WORDS["own"]], "superuser": [], "anonymous": list(WORDS.values())}
            for word in hidden.get(who, [WORDS["foreign"]]):
                assert word not in seen.text, what
            assert seen.status < 500 or path == "readyz", what  # which says that cells wait for a worker
            assert seen.provider_calls == 0, what
            if method == "GET":
                others = {("app/", "removed"): 200, ("readyz", who): seen.status}
                assert seen.status == others.get((path, who), ACCOUNT[path][who != "anonymous"]), what
            elif path != "logout":
                assert seen.writes == (), what


def test_static_files_are_the_same_for_all(caller):
    texts = {caller.call(who, "GET", "/static/css/tokens.css").text for who in CALLERS}
    assert len(texts) == 1
    assert texts.pop()
    assert caller.call("owner", "POST", "/static/css/tokens.css").status in (404, 405)
    assert caller.call("owner", "GET", "/static/../evalsuite/settings.py").status == 404
