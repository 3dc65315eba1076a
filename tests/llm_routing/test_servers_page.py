"""The page of servers: how each endpoint is, and what its org's admins may change there."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from evalsuite.audit.models import AuditEvent
from llm_routing import health, slots, standing
from llm_routing.errors import ProviderUnavailable
from llm_routing.gates import Holder
from llm_routing.models import Endpoint, EndpointRecord, Provider
from tests import factories

HTMX = {"HX-Request": "true"}
DOWN = ProviderUnavailable("The server refused the connection.")
PLACE = {"base_url": "http://127.0.0.1:8", "slots": "2", "weight": "3", "enabled": "on"}
WAITS = {f"{name}_timeout": "9" for name in ("connect", "first_token", "idle", "total")}


@pytest.fixture(autouse=True)
def nothing_noted(settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    health._noted.clear()
    health._failures.clear()
    health._paused_until.clear()


@pytest.fixture
def provider(org):
    made = factories.make_model(slug="gpu", org=org).provider
    Provider.objects.filter(pk=made.pk).update(api_key="sk-canary", name="GPU room")
    made.refresh_from_db()
    return made


@pytest.fixture
def endpoint(provider):
    return provider.endpoints.get()


@pytest.fixture
def url(org):
    return f"/app/orgs/{org.pk}/providers"


@pytest.fixture
def admin(client, org):
    client.force_login(factories.make_user("adam", org=org, role="admin"))
    return client


def now(org):
    """The one endpoint's standing."""
    [server] = standing.servers(org)
    [one] = server.endpoints
    return one


def test_a_new_endpoint_is_unused_then_works(org, endpoint):
    assert (now(org).state, now(org).answered_at) == ("unused", None)
    health.report(endpoint.pk, [None])
    told = now(org)
    assert (told.state, told.failures, told.next_probe_s) == ("up", 0, None)
    assert told.answered_at


def test_failures_have_their_reason_and_hold_the_endpoint(org, endpoint):
    health.report(endpoint.pk, [None, DOWN])
    told = now(org)
    assert (told.state, told.failures, told.failure) == ("up", 1, "The server refused the connection.")
    health.report(endpoint.pk, [DOWN] * 4)
    told = now(org)
    assert (told.state, told.failures) == ("held", 5)
    assert 0 < told.next_probe_s <= 5
    slots.change_gate(endpoint.pk, lambda gate: setattr(gate.health, "held_until", gate.now - 1))
    assert now(org).state == "probing"
    health.report(endpoint.pk, [None])
    assert (now(org).state, now(org).failures) == ("up", 0)


def test_a_pause_that_the_server_asked_for_is_no_verdict(org, endpoint):
    slots.change_gate(endpoint.pk, lambda gate: gate.failed(30))
    assert (now(org).state, now(org).next_probe_s) == ("paused", 30)


def test_slots_and_waiting_requests_are_counted(org, endpoint):
    def busy(gate):
        for name in "abcd":
            gate.hold(name, Holder(gate.now + 60))
        gate.wait("e")

    slots.change_gate(endpoint.pk, busy)
    told = now(org)
    assert (told.in_use, told.waiting, told.is_full, told.state) == (4, 1, True, "up")


@pytest.mark.parametrize("what", ["provider", "endpoint"])
def test_what_is_switched_off_says_so(org, provider, endpoint, what):
    row = provider if what == "provider" else endpoint
    type(row).objects.filter(pk=row.pk).update(enabled=False)
    assert now(org).state == "off"


def test_the_record_is_not_written_for_each_call(endpoint, django_assert_num_queries):
    health.report(endpoint.pk, [None])
    health._keep_record(endpoint.pk, [DOWN])
    with django_assert_num_queries(0):
        health._keep_record(endpoint.pk, [None, DOWN])
    health._noted.clear()
    with django_assert_num_queries(1):
        health._keep_record(endpoint.pk, [None, DOWN])


def test_more_servers_cost_no_more_queries(org, provider):
    counts = []
    for number in range(1, 4):
        with CaptureQueriesContext(connection) as queries:
            assert len(standing.servers(org)) == number
        counts.append(len(queries))
        factories.make_model(slug=f"gpu-{number}", org=org, base_url=f"http://127.0.0.1:{number + 10}")
    assert max(counts) == counts[0]


def test_members_see_how_it_is_and_admins_why(client, admin, org, url, provider, endpoint):
    health.report(endpoint.pk, [DOWN] * 5)
    text = admin.get(url).content.decode()
    assert "left alone" in text
    assert "The server refused the connection." in text
    assert "sk-canary" not in text
    client.force_login(factories.make_user(org=org, role="viewer"))
    text = client.get(url).content.decode()
    assert "left alone" in text
    assert "The server refused the connection." not in text
    assert "hx-post" not in text


def test_of_a_shared_server_an_org_learns_neither_address_nor_load(admin, url, settings, db):
    shared = factories.make_model("big:70b", slug="hosted", base_url="http://secret-host:1").provider
    health.report(shared.endpoints.get().pk, [None, DOWN])
    text = admin.get(url).content.decode()
    assert "shared by all" in text
    assert "secret-host" not in text
    assert "Slots in use" not in text
    assert "refused the connection" not in text
    place = f"{url}/{shared.pk}/endpoints"
    for path in (place, f"{url}/{shared.pk}/delete", f"{place}/{shared.endpoints.get().pk}/delete"):
        assert admin.post(path, PLACE, headers=HTMX).status_code == 403
    assert admin.post(f"{url}/{shared.pk}/save", {"name": "X", **WAITS}, headers=HTMX).status_code == 403
    assert Endpoint.objects.filter(provider=shared).count() == 1


def test_a_server_is_made_changed_and_deleted(admin, org, url):
    new = {**PLACE, "name": "GPU", "slug": "gpu", "kind": "ollama", "api_key": "sk-canary"}
    answer = admin.post(url, new, headers=HTMX)
    assert "GPU is there." in answer.content.decode()
    made = Provider.objects.get(org=org)
    assert (made.api_key, made.endpoints.get().slots, made.endpoints.get().enabled) == ("sk-canary", 2, True)
    admin.post(f"{url}/{made.pk}/save", {"name": "Other", **WAITS}, headers=HTMX)
    made.refresh_from_db()
    assert (made.name, made.enabled, made.idle_timeout, made.api_key) == ("Other", False, 9, "sk-canary")
    admin.post(f"{url}/{made.pk}/save", {"name": "Other", "clear_key": "on", **WAITS}, headers=HTMX)
    made.refresh_from_db()
    assert made.api_key == ""
    assert "Other is deleted." in admin.post(f"{url}/{made.pk}/delete", headers=HTMX).content.decode()
    assert not Provider.objects.exists()
    told = str(list(AuditEvent.objects.values_list("before", "after")))
    assert "sk-canary" not in told


def test_a_new_address_takes_the_key_away_and_says_so(admin, url, provider, endpoint):
    same = {**PLACE, "base_url": f"{endpoint.base_url}/"}
    path = f"{url}/{provider.pk}/endpoints/{endpoint.pk}/save"
    assert "Its key was taken away" not in admin.post(path, same, headers=HTMX).content.decode()
    provider.refresh_from_db()
    endpoint.refresh_from_db()
    assert (provider.api_key, endpoint.slots, endpoint.weight) == ("sk-canary", 2, 3)
    added = admin.post(f"{url}/{provider.pk}/endpoints", PLACE, headers=HTMX).content.decode()
    assert "Its key was taken away" in added
    provider.refresh_from_db()
    assert (provider.api_key, provider.endpoints.count()) == ("", 2)
    elsewhere = {**PLACE, "base_url": "http://127.0.0.1:7", "api_key": "sk-new"}
    assert "Its key" not in admin.post(path, elsewhere, headers=HTMX).content.decode()
    provider.refresh_from_db()
    assert provider.api_key == "sk-new"
    assert set(provider.endpoints.values_list("base_url", flat=True)) == {
        "http://127.0.0.1:7", "http://127.0.0.1:8",
    }  # fmt: skip


def test_an_endpoint_is_switched_off_and_the_last_one_cannot_be_removed(admin, url, provider, endpoint):
    path = f"{url}/{provider.pk}/endpoints/{endpoint.pk}"
    off = {**PLACE, "base_url": endpoint.base_url}
    del off["enabled"]
    admin.post(f"{path}/save", off, headers=HTMX)
    endpoint.refresh_from_db()
    assert endpoint.enabled is False
    assert admin.post(f"{path}/delete", headers=HTMX).status_code == 409
    admin.post(f"{url}/{provider.pk}/endpoints", PLACE, headers=HTMX)
    assert admin.post(f"{path}/delete", headers=HTMX).status_code == 200
    assert provider.endpoints.get().base_url == PLACE["base_url"]


@pytest.mark.parametrize(
    "wrong", [{"base_url": "http://169.254.169.254"}, {"slots": "0"}, {"weight": "x"}, {"api_key": "a b"}]
)
def test_a_bad_endpoint_is_refused(admin, url, provider, wrong):
    answer = admin.post(f"{url}/{provider.pk}/endpoints", {**PLACE, **wrong}, headers=HTMX)
    assert (answer.status_code, answer["HX-Retarget"]) == (400, "#snackbar")
    assert provider.endpoints.count() == 1


def test_an_address_that_is_there_already_is_named_in_plain_words(admin, url, provider, endpoint):
    twice = {**PLACE, "base_url": endpoint.base_url}
    answer = admin.post(f"{url}/{provider.pk}/endpoints", twice, headers=HTMX)
    assert "address: This address comes twice." in answer.content.decode()


def test_the_page_is_kept_fresh_until_it_shows_other_endpoints(admin, org, url, provider, endpoint):
    shown = standing.fingerprint(standing.servers(org))
    assert f"shown={shown}" in admin.get(url).content.decode()
    health.report(endpoint.pk, [DOWN] * 5)
    fresh = admin.get(f"{url}/health", {"shown": shown}, headers=HTMX)
    assert fresh.status_code == 200
    assert f'id="health-{endpoint.pk}"' in fresh.content.decode()
    assert "left alone" in fresh.content.decode()
    Endpoint.objects.create(provider=provider, base_url="http://127.0.0.1:7")
    stale = admin.get(f"{url}/health", {"shown": shown}, headers=HTMX)
    assert stale.status_code == 286
    assert "load the page again" in stale.content.decode()


def test_a_record_goes_with_its_endpoint(endpoint):
    health.report(endpoint.pk, [None])
    assert EndpointRecord.objects.count() == 1
    endpoint.provider.delete()
    assert not EndpointRecord.objects.exists()
