"""Secrets that came in by real use are nowhere that anybody looks: not one hit in all that is left behind."""

from __future__ import annotations

import logging
import os

import pytest
import redis
import requests
from django.db import connection

from evalsuite import throttle
from evalsuite.orgs import signing_in
from tests import factories
from tests.fakes.openai import FakeOpenAI, refusal
from tests.test_urlconf import routes

pytestmark = pytest.mark.django_db(transaction=True)
PROVIDER_KEY = "sk-canary-provider-key-0123456789"
PASSWORD = "canary-Password-of-alice-1"
WRONG = "canary-Password-mistyped-2"
REDIS_URL = os.environ.get("TEST_REDIS_URL", "")


class Everything:
    """What was written, said and answered: text by where it was found."""

    def __init__(self):
        self.texts = {}

    def add(self, where, text):
        self.texts.setdefault(where, []).append(text)

    def hits(self, secrets):
        return [
            (name, where)
            for where, texts in self.texts.items()
            for name, secret in secrets.items()
            if any(secret in text for text in texts)
        ]


class Notes(logging.Handler):
    def __init__(self, everything):
        super().__init__(logging.DEBUG)
        self.everything = everything
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record):
        self.everything.add("logs", f"{self.format(record)} {record.args!r}")


@pytest.fixture
def everything():
    found = Everything()
    notes = Notes(found)
    root = logging.getLogger()
    level = root.level
    root.addHandler(notes)
    root.setLevel(logging.DEBUG)
    yield found
    root.setLevel(level)
    root.removeHandler(notes)


@pytest.fixture
def shared(settings):
    """A Redis for whatever wants one, where there is one."""
    if not REDIS_URL:
        return None
    settings.REDIS_URL = REDIS_URL
    client = redis.Redis.from_url(REDIS_URL)
    client.flushdb()
    return client


class Visitor(requests.Session):
    """Keeps every answer; those in which a secret is given on purpose are named."""

    def __init__(self, url, everything):
        super().__init__()
        self.url, self.everything = url, everything
        self.trust_env = False

    def ask(self, method, path, *, gives=False, **options):
        # Its own client would note the address, which may be a secret; the product must not.
        logging.getLogger("urllib3.connectionpool").disabled = gives
        answer = self.request(method, self.url + path, timeout=30, allow_redirects=False, **options)
        logging.getLogger("urllib3.connectionpool").disabled = False
        kind = "error pages" if answer.status_code >= 400 else "answers"
        if not gives:
            headers = {name: value for name, value in answer.headers.items() if name.lower() != "set-cookie"}
            self.everything.add(f"{kind} {path}", f"{headers} {answer.text}")
        return answer


def use(visitor, org, server, monkeypatch):
    """Sign in, well and badly; make keys; call a model whose server tells its key. Answers the secrets."""
    secrets = {"provider key": PROVIDER_KEY, "password": PASSWORD, "mistyped password": WRONG}
    token = "/api/v1/auth/token"
    visitor.ask("POST", token, json={"username": "alice", "password": WRONG})
    visitor.ask("POST", token, json={"username": WRONG, "password": PASSWORD})
    visitor.ask("POST", token, json={"username": "alice", "password": PASSWORD, "more": PASSWORD})
    with monkeypatch.context() as broken:
        broken.setattr(signing_in, "issue_tokens", lambda user: 1 / 0)
        assert visitor.ask("POST", token, json={"username": "alice", "password": PASSWORD}).status_code == 500
    pair = visitor.ask("POST", token, json={"username": "alice", "password": PASSWORD}, gives=True).json()
    secrets |= {"access token": pair["access"], "used refresh token": pair["refresh"]}
    again = visitor.ask("POST", f"{token}/refresh", json={"refresh": pair["refresh"]}, gives=True).json()
    secrets |= {"refresh token": again["refresh"]}
    visitor.ask("POST", f"{token}/refresh", json={"refresh": pair["refresh"]})

    page = visitor.ask("GET", "/login")
    form = {"username": "alice", "csrfmiddlewaretoken": visitor.cookies["csrftoken"]}
    visitor.ask("POST", "/login", data={**form, "password": WRONG})
    assert visitor.ask("POST", "/login", data={**form, "password": PASSWORD}).status_code == 302
    assert page.status_code == 200
    secrets["session cookie"] = visitor.cookies["sessionid"]

    api = f"/api/v1/orgs/{org.pk}"
    bearer = {"Authorization": f"Bearer {again['access']}"}
    body = {"name": "CI", "permissions": ["org:experiments:write", "org:playground:use"]}
    key = visitor.ask("POST", f"{api}/api-keys", json=body, headers=bearer, gives=True).json()["token"]
    secrets["API key"] = key
    program = {"Authorization": f"Bearer {key}"}
    invited = visitor.ask("POST", f"{api}/invitations", json={"role": "rater"}, headers=bearer, gives=True)
    secrets["invitation"] = invited.json()["token"]
    link = f"/join/{secrets['invitation']}"
    assert visitor.ask("GET", link, gives=True).status_code == 200  # to its holder alone
    form["csrfmiddlewaretoken"] = visitor.cookies["csrftoken"]
    assert visitor.ask("POST", link, data=form, gives=True).status_code == 409
    provider = {
        "slug": "hosted",
        "name": "Hosted",
        "kind": "openai_compatible",
        "apiKey": PROVIDER_KEY,
        "endpoints": [{"baseUrl": f"{server.url}/v1"}],
    }
    made = visitor.ask("POST", f"{api}/providers", json=provider, headers=bearer).json()["provider"]
    visitor.ask("POST", f"{api}/providers", json={**provider, "kind": "x"}, headers=bearer)
    visitor.ask("POST", f"{api}/providers/{made['id']}/sync", headers=bearer)
    visitor.ask("POST", f"{api}/providers/{made['id']}/test", headers=bearer)
    model = visitor.ask("GET", f"{api}/models", headers=bearer).json()["models"][0]["modelName"]
    ask = {"prompt": "hello", "modelProvider": "hosted", "modelName": model}
    assert visitor.ask("POST", f"{api}/playground/complete", json=ask, headers=program).status_code == 200
    assert any(PROVIDER_KEY in str(seen.headers) for seen in server.requests)
    for _ in range(4):
        server.enqueue(refusal(401, f"Incorrect API key provided: {PROVIDER_KEY}"))
    refused = visitor.ask("POST", f"{api}/playground/complete", json=ask, headers=program)
    assert refused.status_code >= 400
    visitor.ask("POST", f"{api}/playground/stream", json=ask, headers=program)
    visitor.ask("POST", f"{api}/experiments", json={"name": "by a program"}, headers=program)
    bad = {"Authorization": f"Bearer {key}x"}
    assert visitor.ask("GET", f"{api}/experiments", headers=bad).status_code == 401
    return secrets


def read_everything(visitor, org, everything, shared):
    """Each page and answer that a GET gives, exports, metrics, Redis and the whole database."""
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    factories.make_run(experiment)
    for path, _ in routes():
        if "<" in path.replace("<str:org_id>", "").replace("<str:experiment_id>", "") or "^" in path:
            continue
        filled = path.replace("<str:org_id>", str(org.pk)).replace("<str:experiment_id>", str(experiment.pk))
        if filled not in ("logout", "admin/logout/") and "(?P" not in filled:
            visitor.ask("GET", f"/{filled}")
    for table in ("inputs", "runs", "scores"):
        for kind in ("csv", "jsonl"):
            visitor.ask("GET", f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/export/{table}/{kind}")
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            everything.add(f"table {table}", str(cursor.fetchall()))
    for key in shared.scan_iter() if shared else ():
        kind = shared.type(key).decode()
        read = {
            "string": shared.get,
            "hash": shared.hgetall,
            "list": lambda name: shared.lrange(name, 0, -1),
            "set": shared.smembers,
            "zset": lambda name: shared.zrange(name, 0, -1, withscores=True),
        }[kind]
        everything.add("Redis", f"{key!r} {read(key)!r}")


def test_no_secret_is_anywhere(site, org, settings, monkeypatch, everything, shared):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    throttle._local.cache_clear()
    alice = factories.make_user("alice", org=org, role="owner", is_staff=True, is_superuser=True)
    alice.set_password(PASSWORD)
    alice.save()
    visitor = Visitor(site.url, everything)
    with FakeOpenAI() as server:
        secrets = use(visitor, org, server, monkeypatch)
    read_everything(visitor, org, everything, shared)
    secrets |= {
        "SECRET_KEY": settings.SECRET_KEY,
        "JWT_SIGNING_KEY": settings.JWT_SIGNING_KEY,
        "FIELD_ENCRYPTION_KEYS": settings.FIELD_ENCRYPTION_KEYS[0],
    }
    assert everything.hits(secrets) == []
    # The net has no hole: what is no secret is found in each kind of place.
    places = " ".join(everything.texts)
    for place in (
        "logs",
        "error pages /api",
        "answers /app",
        "answers /admin",
        "answers /metrics",
        "/export/",
    ):
        assert place in places, place
    assert ("name", "table orgs_user") in everything.hits({"name": "alice"})
    assert {"table audit_auditevent", "table orgs_apikey"} <= {
        where for _, where in everything.hits({"prefix": "evs_", "event": "account.login"})
    }
    assert not REDIS_URL or "Redis" in places
    throttle._local.cache_clear()
