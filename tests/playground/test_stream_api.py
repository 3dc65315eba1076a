"""The stream as a client sees it: over a real web server, from a provider on a real socket."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
import requests
from django.db import connection, connections
from rest_framework_simplejwt.tokens import RefreshToken

from evalsuite.sqlite import base as sqlite
from playground.models import PlaygroundMessage, PlaygroundSession
from tests import factories
from tests.experiments.conftest import wait_for
from tests.fakes.ollama import FakeOllama, last, piece, refusal, stream
from tests.fakes.server import Pause

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fake():
    with FakeOllama() as server:
        yield server


@pytest.fixture
def post(site, org, alice, fake):
    """POST to one of the playground's routes as Alice."""
    factories.set_default_model(org, factories.make_model(base_url=fake.url))
    headers = {
        "Authorization": f"Bearer {RefreshToken.for_user(alice).access_token}",
        "Accept": "text/event-stream, application/json",
    }

    def send(route, body, **options):
        url = f"{site.url}/api/v1/orgs/{org.pk}/playground/{route}"
        return requests.post(url, json=body, headers=headers, timeout=20, **options)

    return send


def events(response):
    """Event names and data, with the moment at which each came."""
    block = []
    for text in response.iter_lines(chunk_size=1, decode_unicode=True):
        if text:
            block.append(text.split(": ", 1)[1])
        elif block:
            yield block[0], json.loads(block[1]), time.monotonic()
            block = []


def test_complete_answers_the_contract_s_shape_and_keeps_the_session(post, fake):
    response = post("complete", {"prompt": "hi", "systemPrompt": "Be brief.", "maxTokens": 9})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"sessionId", "output", "latencyMs", "inputTokens", "outputTokens"}
    assert (body["output"], body["inputTokens"], body["outputTokens"]) == ("Hello", 26, 8)
    sent = fake.requests[0].body
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert sent["options"]["num_predict"] == 9
    assert (sent["truncate"], sent["shift"]) == (False, False)
    session = PlaygroundSession.objects.get(pk=body["sessionId"])
    assert list(session.messages.values_list("role", "content")) == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "Hello"),
    ]


def test_profile_beats_default_and_explicit_beats_profile(post, org, fake):
    profile = factories.make_profile(org, temperature=0.2, top_p=0.5, max_tokens=77, version=3)
    post("complete", {"prompt": "hi", "chatProfileId": str(profile.pk), "temperature": 1.5})
    sent = fake.requests[0].body
    assert (sent["options"]["temperature"], sent["options"]["top_p"]) == (1.5, 0.5)
    assert sent["options"]["num_predict"] == 77
    assert sent["messages"][0] == {"role": "system", "content": "You are kind."}
    session = PlaygroundSession.objects.get()
    assert (session.temperature, session.top_p, session.max_tokens) == (1.5, 0.5, 77)
    assert session.chat_profile_version == 3


def test_deltas_arrive_while_the_model_still_writes(post, fake):
    fake.enqueue(stream(piece("One"), Pause(0.6), piece(" two"), last()))
    with post("stream", {"prompt": "count"}, stream=True) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        got = list(events(response))
    names = [name for name, _, _ in got]
    assert names == ["session", "delta", "delta", "done"]
    assert got[2][2] - got[1][2] > 0.4
    assert got[3][1]["output"] == "One two"
    assert set(got[3][1]) == {"sessionId", "output", "latencyMs", "inputTokens", "outputTokens"}


def test_a_client_that_leaves_stops_the_generation(post, fake):
    fake.enqueue(stream(piece("One"), Pause(20), last()))
    response = post("stream", {"prompt": "count"}, stream=True)
    for name, _, _ in events(response):
        if name == "delta":
            break
    left = time.monotonic()
    response.close()
    seen = fake.requests[0]
    fake.wait_until_left(seen)
    assert seen.left_at - left < 1
    kept = wait_for(lambda: PlaygroundMessage.objects.filter(role="assistant").first())
    assert (kept.content, kept.error_code) == ("One", "CANCELLED")


def test_a_client_that_leaves_before_the_first_token_stops_it_too(post, fake):
    fake.enqueue(stream(Pause(20), last()))
    response = post("stream", {"prompt": "count"}, stream=True)
    coming = events(response)
    assert next(coming)[0] == "session"
    seen = fake.wait_for_request()
    left = time.monotonic()
    response.close()
    fake.wait_until_left(seen)
    assert seen.left_at - left < 1


def open_connections():
    """Of this process to the database, but for the one that asks, and those that wait for their next use."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return cursor.fetchone()[0]
    connections.close_all()
    database = str(connection.settings_dict["NAME"])
    links = Path("/proc/self/fd")
    files = sum(os.path.realpath(links / name) == database for name in os.listdir(links))
    return files - sqlite.idle(database)


@pytest.mark.parametrize("route", ["stream", "complete"])
def test_no_connection_to_the_database_is_held_while_a_model_writes(post, fake, route):
    before = open_connections()  # threads of earlier tests may still hold some
    fake.enqueue(stream(piece("One"), Pause(20), last()))
    caller = threading.Thread(target=post, args=(route, {"prompt": "count"}), daemon=True)
    caller.start()
    seen = fake.wait_for_request()
    wait_for(lambda: open_connections() <= before)
    assert seen.left_at is None


def test_an_error_after_the_start_is_an_event(post, fake):
    fake.enqueue(stream(piece("One"), {"error": "model runner has unexpectedly stopped"}))
    with post("stream", {"prompt": "count"}, stream=True) as response:
        got = list(events(response))
    assert [name for name, _, _ in got] == ["session", "delta", "error"]
    assert got[-1][1]["error"] == "PROVIDER_ERROR"
    assert PlaygroundMessage.objects.get(role="assistant").content == "One"


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (refusal(404, "model 'm' not found"), 404, "MODEL_NOT_FOUND"),
        (refusal(503, "server busy, please try again.  maximum pending requests exceeded"), 503, None),
        (refusal(500, "model runner has unexpectedly stopped"), 502, "PROVIDER_ERROR"),
        (stream(piece("Half")), 502, "PROVIDER_ERROR"),
        (stream(b"<html>no</html>\n"), 502, "PROVIDER_ERROR"),
    ],
)
def test_a_provider_s_failure_has_its_name_and_status(post, fake, script, status, code):
    fake.enqueue(script)
    response = post("complete", {"prompt": "hi"})
    assert response.status_code == status
    assert response.json()["error"] == (code or "PROVIDER_UNAVAILABLE")
    assert PlaygroundMessage.objects.filter(role="assistant").exclude(error_code="").count() == 1


def test_a_provider_that_is_down_is_503(post, org, fake):
    factories.set_default_model(org, factories.make_model("other:1b", slug="down"))
    response = post("complete", {"prompt": "hi"})
    assert (response.status_code, response.json()["error"]) == (503, "PROVIDER_UNAVAILABLE")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "  \n"}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "nul \0"}, "prompt"),
        ({"prompt": "x" * 1_000_001}, "prompt"),
        ({"prompt": "hi", "temperature": 3}, "temperature"),
        ({"prompt": "hi", "temperature": "0.7"}, "temperature"),
        ({"prompt": "hi", "topP": -0.1}, "topP"),
        ({"prompt": "hi", "maxTokens": 0}, "maxTokens"),
        ({"prompt": "hi", "maxTokens": 40000}, "maxTokens"),
        ({"prompt": "hi", "maxTokens": 1.5}, "maxTokens"),
        ({"prompt": "hi", "temprature": 1}, "temprature"),
    ],
)
@pytest.mark.parametrize("route", ["complete", "stream"])
def test_bad_input_is_400_and_names_the_field(post, fake, route, body, field):
    response = post(route, body)
    assert response.status_code == 400
    assert response.json()["error"] == "INVALID_BODY"
    assert field in response.json()["details"]
    assert fake.requests == []
    assert PlaygroundSession.objects.count() == 0


def test_unknown_models_and_profiles_are_404(post, org, fake):
    foreign = factories.make_profile(factories.make_org())
    for body, code in [
        ({"modelName": "nope"}, "MODEL_NOT_FOUND"),
        ({"modelProvider": "nobody", "modelName": "tiny:1b"}, "MODEL_NOT_FOUND"),
        ({"chatProfileId": str(foreign.pk)}, "CHAT_PROFILE_NOT_FOUND"),
        ({"chatProfileId": "nonsense"}, "CHAT_PROFILE_NOT_FOUND"),
    ]:
        response = post("stream", {"prompt": "hi", **body})
        assert (response.status_code, response.json()["error"]) == (404, code)
    assert fake.requests == []


def test_what_the_model_writes_is_cleaned_for_the_database(post, fake):
    fake.enqueue(stream(b'{"message": {"content": "a\\u0000b\\ud800"}, "done": false}\n', last()))
    assert post("complete", {"prompt": "hi"}).json()["output"] == "a\ufffdb\ufffd"
