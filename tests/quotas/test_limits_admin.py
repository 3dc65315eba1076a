from __future__ import annotations

import pytest
from django.urls import reverse

from evalsuite.audit.models import AuditEvent
from evalsuite.quotas.models import OrgLimits
from evalsuite.quotas.services import limits_of
from tests import factories
from tests.quotas.helpers import limit

pytestmark = pytest.mark.django_db
ADD = "admin:quotas_orglimits_add"
CHANGE = "admin:quotas_orglimits_change"


@pytest.fixture
def root(client):
    user = factories.make_user("root", is_staff=True, is_superuser=True)
    client.force_login(user)
    return client


def test_the_operator_s_limits_hold_at_once_and_are_in_the_audit_log(root, org):
    answer = root.post(reverse(ADD), {"org": str(org.pk), "tokens_per_day": "500"})
    assert answer.status_code == 302
    assert (limits_of(org).tokens_per_day, limits_of(org).parallel_cells) == (500, 256)
    row = OrgLimits.objects.get()
    answer = root.post(reverse(CHANGE, args=[row.pk]), {"tokens_per_day": "", "parallel_cells": "8"})
    assert answer.status_code == 302
    assert (limits_of(org).tokens_per_day, limits_of(org).parallel_cells) == (None, 8)
    created, changed = AuditEvent.objects.filter(object_type="quotas.orglimits").order_by("id")
    assert (created.event, created.after["tokensPerDay"], created.before) == (
        "admin.orglimits.created",
        500,
        None,
    )
    assert (changed.event, changed.actor_name, changed.org) == ("admin.orglimits.changed", "root", org)
    assert (changed.before["tokensPerDay"], changed.after["tokensPerDay"]) == (500, None)
    assert (changed.before["parallelCells"], changed.after["parallelCells"]) == (None, 8)


@pytest.mark.parametrize("value", ["-1", "1.5", "10000000000000000", "many"])
def test_what_is_no_limit_is_refused(root, org, value):
    answer = root.post(reverse(ADD), {"org": str(org.pk), "tokens_per_day": value})
    assert answer.status_code == 200
    assert not OrgLimits.objects.exists()


def test_owners_see_their_limits_and_cannot_raise_them(client, org):
    limit(org, tokens_per_day=7)
    limit(factories.make_org("Elsewhere"), tokens_per_day=987_654)
    client.force_login(factories.make_user(org=org, role="owner", is_staff=True))
    page = client.get(reverse("admin:quotas_orglimits_changelist"))
    assert page.status_code == 200
    assert "Elsewhere" not in page.content.decode()
    change = reverse(CHANGE, args=[OrgLimits.objects.get(org=org).pk])
    assert client.get(change).status_code == 200
    assert client.post(change, {"tokens_per_day": "9"}).status_code == 403
    assert client.get(reverse(ADD)).status_code == 403
    assert limits_of(org).tokens_per_day == 7
