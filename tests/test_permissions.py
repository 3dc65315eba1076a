"""The one table of roles: who may do what, written out by hand so that a slip in the code shows."""

from __future__ import annotations

from typing import get_args

import pytest

from evalsuite.errors import Forbidden, NotFound
from evalsuite.ids import new_id
from evalsuite.orgs.models import Membership, Org
from evalsuite.orgs.permissions import ALL, GRANTS, IMPLIED, ROLE_PERMISSIONS, Permission
from tests import factories

pytestmark = pytest.mark.matrix

READ, RATE, WRITE = "org:experiments:read", "org:experiments:rate", "org:experiments:write"
EVERYTHING = {
    READ,
    RATE,
    WRITE,
    "org:playground:use",
    "org:profiles:write",
    "org:models:write",
    "org:members:manage",
    "org:keys:manage",
    "org:audit:read",
    "org:usage:read",
}
TABLE = {
    "owner": EVERYTHING,
    "admin": EVERYTHING,
    "editor": {READ, RATE, WRITE, "org:playground:use", "org:profiles:write"},
    "rater": {READ, RATE},
    "viewer": {READ},
}


def test_the_table_is_what_was_agreed():
    assert {role: set(granted) for role, granted in ROLE_PERMISSIONS.items()} == TABLE


def test_every_role_has_a_row_and_no_row_is_without_a_role():
    assert set(GRANTS) == set(Membership.Role.values)


def test_only_declared_permissions_are_granted_or_implied():
    assert get_args(Permission) == tuple(dict.fromkeys(get_args(Permission)))
    assert set().union(*GRANTS.values(), *IMPLIED.values(), IMPLIED) <= ALL


def test_to_write_implies_to_rate_and_to_read():
    assert IMPLIED[WRITE] == {RATE, READ}
    assert IMPLIED[RATE] == {READ}


def test_what_is_implied_twice_over_is_granted_too():
    for permission, implied in IMPLIED.items():
        for further in implied:
            assert IMPLIED.get(further, frozenset()) <= implied, permission


@pytest.mark.parametrize("role", TABLE)
def test_a_member_has_the_permissions_of_the_role(org, role):
    user = factories.make_user(org=org, role=role)
    assert org.permissions_of(user) == TABLE[role]


@pytest.mark.parametrize(("role", "permission"), [(role, p) for role in TABLE for p in sorted(EVERYTHING)])
def test_require_lets_in_exactly_those(org, role, permission):
    user = factories.make_user(org=org, role=role)
    if permission in TABLE[role]:
        org.require(user, permission)
    else:
        with pytest.raises(Forbidden) as refused:
            org.require(user, permission)
        assert refused.value.details["permission"] == permission


def test_a_change_of_role_counts_at_once(org):
    user = factories.make_user(org=org, role="viewer")
    Membership.objects.filter(user=user).update(role="admin")
    assert org.permissions_of(user) == EVERYTHING
    Membership.objects.filter(user=user).delete()
    assert org.permissions_of(user) == frozenset()


def test_a_role_in_one_org_is_worth_nothing_in_another(org, charlie):
    assert org.permissions_of(charlie) == frozenset()
    with pytest.raises(NotFound):
        Org.objects.for_user(charlie, org.pk)


def test_a_superuser_acts_in_every_org(org):
    root = factories.make_user(is_superuser=True)
    assert org.permissions_of(root) == EVERYTHING
    assert Org.objects.for_user(root, org.pk) == org


@pytest.mark.parametrize("superuser", [False, True])
def test_an_account_that_is_switched_off_may_nothing(org, superuser):
    user = factories.make_user(org=org, role="owner", is_active=False, is_superuser=superuser)
    assert org.permissions_of(user) == frozenset()
    assert not Org.objects.visible_to(user).exists()


def test_a_foreign_and_a_made_up_org_are_told_apart_by_nobody(org, charlie):
    messages = set()
    for org_id in (org.pk, new_id(), "no-id"):
        with pytest.raises(NotFound) as refused:
            Org.objects.for_user(charlie, org_id)
        messages.add((refused.value.code, refused.value.message))
    assert len(messages) == 1
