"""Prepared queries find what the ORM's would, for each value anew."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.db.models import Count, F

from evalsuite.ids import new_id
from evalsuite.orgs.models import Membership, Org
from evalsuite.prepared import Prepared
from llm_routing.models import Provider
from tests import factories

pytestmark = pytest.mark.django_db


def test_each_run_has_its_own_values():
    one, other = factories.make_org("One"), factories.make_org("Other")
    query = Prepared(lambda org, name: Org.objects.filter(pk=org, name=name), UUID, str)
    assert query.first(one.pk, "One") == one
    assert query.first(other.pk, "Other") == other
    assert query.first(one.pk, "Other") is None
    assert query.first(new_id(), "One") is None


def test_a_value_may_come_twice_and_beside_constants():
    one, other = factories.make_org("One"), factories.make_org("Other")
    query = Prepared(
        lambda name: Org.objects.filter(name__in=[name, "Other"]).exclude(slug=name).order_by("name"), str
    )
    assert query.all("One") == [one, other]
    assert query.all("Nobody's % name") == [other]


def test_rows_are_whole(org):
    made = Provider.objects.create(
        org=org, slug="s", name="S", kind="ollama", api_key="secret", enabled=False
    )
    found = Prepared(lambda pk: Provider.objects.filter(pk=pk), UUID).first(made.pk)
    assert found is not None
    fields = [field.attname for field in Provider._meta.concrete_fields]
    assert not found.get_deferred_fields()
    assert [getattr(found, name) for name in fields] == [getattr(made, name) for name in fields]


def test_one_statement_each_time(org, django_assert_num_queries):
    query = Prepared(lambda org: Membership.objects.filter(org=org), UUID)
    query.all(org.pk)
    with django_assert_num_queries(1):
        query.all(org.pk)


def test_a_value_that_the_query_ignores_is_an_error(org):
    query = Prepared(lambda org, name: Org.objects.filter(pk=org), UUID, str)
    with pytest.raises(AssertionError, match="does not use"):
        query.all(org.pk, "One")


def test_related_rows_come_along_where_the_query_names_them(org, django_assert_num_queries):
    alice = factories.make_user("alice", org=org, role="owner")
    query = Prepared(
        lambda org: Membership.objects.filter(org=org).select_related("user").annotate(of=F("org__name")),
        UUID,
    )
    query.all(org.pk)
    with django_assert_num_queries(1):
        [found] = query.all(org.pk)
        assert found.user == alice
        assert found.user.date_joined == alice.date_joined
        assert (found.role, found.of) == ("owner", org.name)


def test_values_come_as_dicts_with_sums(org):
    alice, bob = (
        factories.make_user(name, org=org, role=role) for name, role in [("a", "owner"), ("b", "rater")]
    )
    query = Prepared(
        lambda org: (
            Membership.objects.filter(org=org)
            .order_by("user__username")
            .values("user", "role")
            .annotate(n=Count("pk"))
        ),
        UUID,
    )
    assert query.rows(org.pk) == [
        {"user": alice.pk, "role": "owner", "n": 1},
        {"user": bob.pk, "role": "rater", "n": 1},
    ]
    assert query.rows(new_id()) == []
