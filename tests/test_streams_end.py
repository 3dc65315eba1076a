"""Who loses a right loses what streams on it: over a real web server, from a provider on a real socket."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest
import requests
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework_simplejwt.tokens import RefreshToken

from evalsuite import streams, watching
from evalsuite.orgs import api_keys
from evalsuite.orgs.models import Membership, User
from experiments.services import planning
from tests import factories
from tests.fakes.ollama import FakeOllama, piece, stream
from tests.fakes.server import Pause

pytestmark = pytest.mark.django_db(transaction=True)
WITHIN_S = 10
PROMPT = {"prompt": "hello"}


class SlowOllama(FakeOllama):
    """Begins every answer and every download, and then says nothing more for a while."""

    def default(self, seen):
        if seen.path == "/api/chat":
            return stream(piece("Hel"), Pause())
        if seen.path == "/api/pull":
            return stream({"status": "pulling manifest"}, Pause())
        return super().default(seen)


@pytest.fixture
def slow():
    with SlowOllama() as server:
        yield server


@pytest.fixture
def bench(org, slow, settings):
    """Something to stream: a model, and a batch that nobody works on."""
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    model = factories.make_model(base_url=slow.url, org=org, slug="own", slots=64)
    factories.set_default_model(org, model)
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    batch = planning.start_batch(experiment=experiment, author=None)
    return {
        "playground": ("POST", "playground/stream", PROMPT),
        "compare": ("POST", "playground/compare/stream", {**PROMPT, "columns": [{}, {}]}),
        "pull": ("POST", f"providers/{model.provider_id}/pull", {"modelName": "tiny:1b"}),
        "batch": ("GET", f"experiments/batches/{batch.pk}/events", None),
    }


@dataclass
class Reader(threading.Thread):
    """Reads a stream to its end: what came, and when it ended."""

    response: requests.Response
    text: str = ""
    ended_at: float | None = None
    broke: list[Exception] = field(default_factory=list)

    def __hash__(self):
        return id(self)

    def __post_init__(self):
        super().__init__(daemon=True)
        self.start()

    def run(self):
        try:
            for line in self.response.iter_lines(chunk_size=1, decode_unicode=True):
                self.text += f"{line}\n"
        except requests.RequestException as problem:
            self.broke.append(problem)
        self.ended_at = time.monotonic()


def open_stream(site, org, what, user, *, with_session=False, token=""):
    method, path, body = what
    client = requests.Session()
    headers = {"Accept": "text/event-stream"}
    if with_session:
        browser = Client()
        browser.force_login(user)
        client.cookies.update({"sessionid": browser.cookies["sessionid"].value, "csrftoken": "a" * 32})
        headers |= {"X-CSRFToken": "a" * 32}
    else:
        headers["Authorization"] = f"Bearer {token or RefreshToken.for_user(user).access_token}"
    url = f"{site.url}/api/v1/orgs/{org.pk}/{path}"
    response = client.request(method, url, json=body, headers=headers, stream=True, timeout=30)
    assert response.status_code == 200, response.text
    return Reader(response)


def remove(user):
    Membership.objects.filter(user=user).delete()


def lower_role(user):
    Membership.objects.filter(user=user).update(role="viewer")


def switch_off(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user):
    user.set_password("another-correct-horse")
    user.save()


def end_session(user):
    for session in Session.objects.all():
        if session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()


LOSSES = {loss.__name__: loss for loss in (remove, lower_role, switch_off, change_password, end_session)}
# A viewer may watch a batch still.
CASES = [
    (loss, name)
    for loss in LOSSES
    for name in ("playground", "compare", "pull", "batch")
    if (loss, name) != ("lower_role", "batch")
]


def test_every_open_stream_ends_when_its_right_is_lost(site, org, slow, bench):
    users = {loss: factories.make_user(f"loses-{loss}", org=org, role="admin") for loss in LOSSES}
    stays = factories.make_user("stays", org=org, role="admin")
    readers = {
        (loss, name): open_stream(site, org, bench[name], users[loss], with_session=loss == "end_session")
        for loss, name in CASES
    }
    kept = {name: open_stream(site, org, bench[name], stays) for name in bench}
    # A comparison makes two calls; a batch's events make none.
    calls = sum({"compare": 2, "batch": 0}.get(name, 1) for name in [name for _, name in CASES] + list(kept))
    slow.wait_for_request(calls)
    lost_at = time.monotonic()
    for loss, user in users.items():
        LOSSES[loss](user)
    for reader in readers.values():
        reader.join(max(0.0, lost_at + WITHIN_S - time.monotonic()))
    late = [case for case, reader in readers.items() if reader.ended_at is None or reader.broke]
    assert late == []
    assert all(reader.text.rstrip().endswith(streams.LOST.decode().rstrip()) for reader in readers.values())
    # The calls behind them have ended as well, and nobody else's.
    deadline = time.monotonic() + 2
    while sum(seen.left_at is None for seen in slow.requests) > 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sum(seen.left_at is None for seen in slow.requests) == 4
    assert [name for name, reader in kept.items() if reader.ended_at is not None] == []
    remove(stays)
    for reader in kept.values():
        reader.join(WITHIN_S)


def test_ten_streams_of_one_person_are_asked_about_once(site, org, bench):
    user = factories.make_user(org=org, role="viewer")
    readers = [open_stream(site, org, bench["batch"], user) for _ in range(10)]
    with CaptureQueriesContext(connection) as asked:
        watching.open_streams._ask()
    assert len(asked) == 2
    remove(user)
    for reader in readers:
        reader.join(WITHIN_S)
        assert reader.ended_at


def test_a_revoked_key_ends_the_stream_of_its_program(site, org, bench):
    owner = factories.make_user(org=org, role="owner")
    key, token = api_keys.create_key(
        org=org, actor=owner, name="K", permissions=["org:experiments:read"], days=1
    )
    reader = open_stream(site, org, bench["batch"], owner, token=token)
    api_keys.revoke(key, actor=owner)
    reader.join(WITHIN_S)
    assert reader.ended_at
    assert "FORBIDDEN" in reader.text
