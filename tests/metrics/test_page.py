"""Who may read the page of figures, and what is on it while a part is away."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from django.db import OperationalError

from evalsuite.metrics import page
from evalsuite.metrics.families import FAMILIES
from tests import factories
from tests.metrics.reading import parsed, read, total

pytestmark = pytest.mark.django_db
TOKEN = "a-long-token-of-somebody-who-watches"


def status(client, address="127.0.0.1", **headers):
    return client.get("/metrics", REMOTE_ADDR=address, headers=headers).status_code


@pytest.mark.parametrize(("address", "expected"), [("127.0.0.1", 200), ("::1", 200), ("10.2.0.1", 404)])
def test_without_settings_this_machine_alone(client, address, expected):
    assert status(client, address) == expected


def test_the_bearer_of_the_token_from_anywhere(client, settings):
    settings.METRICS_TOKEN = TOKEN
    assert status(client, "203.0.113.5", Authorization=f"Bearer {TOKEN}") == 200
    for wrong in ("", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ü"):
        assert status(client, "127.0.0.1", Authorization=wrong) == 404


def test_no_token_is_no_empty_token(client, settings):
    settings.METRICS_NETWORKS = [ip_network("10.2.0.0/16")]
    assert status(client, "203.0.113.5", Authorization="Bearer ") == 404


def test_networks(client, settings):
    settings.METRICS_NETWORKS = [ip_network("10.2.0.0/16"), ip_network("fd00::/8")]
    for address, expected in [
        ("10.2.255.1", 200),
        ("fd00::7", 200),
        ("10.3.0.1", 404),
        ("127.0.0.1", 404),
        ("unix", 404),
    ]:
        assert status(client, address) == expected


def test_behind_a_proxy_the_client_s_address_counts(client, settings):
    settings.TRUSTED_PROXY = True
    assert status(client, "127.0.0.1") == 404  # the proxy's own, and so everybody's
    settings.METRICS_NETWORKS = [ip_network("10.2.0.0/16")]
    forwarded = {"X-Forwarded-For": "10.2.0.1, 203.0.113.5"}
    assert status(client, "10.2.0.9", **forwarded) == 404
    assert status(client, "10.2.0.9", **{"X-Forwarded-For": "203.0.113.5, 10.2.0.1"}) == 200


def test_a_signed_in_superuser_is_nobody_here(client, db):
    client.force_login(factories.make_user("root", is_superuser=True, is_staff=True))
    assert status(client, "203.0.113.5") == 404


def test_the_database_is_away(client, monkeypatch):
    def broken():
        raise OperationalError("secret words of the server")

    monkeypatch.setattr(page.folding, "fold", broken)
    answer = client.get("/metrics")
    assert answer.status_code == 503
    assert answer.content == b"The database does not answer."


def test_every_metric_is_on_the_page(client, org):
    text = client.get("/metrics").content.decode()
    for name, family in FAMILIES.items():
        assert f"# TYPE {name} {family.kind}\n" in text
        assert f"# HELP {name} {family.help}\n" in text
    assert "django_http_requests" in text  # of this process


def test_parts_that_are_missing(org, settings):
    assert total(read(), "evalsuite_ready", part="database") == 1
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    assert total(read(), "evalsuite_ready", part="redis") == 0
    assert total(read(), "evalsuite_ready", part="workers") == 1


def test_one_of_several_web_processes_tells_nothing_of_its_own(client, monkeypatch):
    monkeypatch.setattr(page.multiprocessing, "parent_process", lambda: object())
    text = client.get("/metrics").content.decode()
    assert "django_http" not in text
    assert "experiment_runs_total" in text


def test_content_type_is_that_of_the_text_format(client):
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert parsed(answer.content.decode())
