"""Sessions of the playground: one's own, or all of them for those who may read the audit log."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from evalsuite.audit.models import AuditEvent
from evalsuite.ids import new_id
from playground.models import PlaygroundMessage, PlaygroundSession
from tests import factories


@pytest.fixture
def url(org):
    return f"/api/v1/orgs/{org.pk}/playground/sessions"


@pytest.fixture
def bob(org):
    """An editor: uses the playground, and may not read the audit log."""
    return factories.make_user("bob", org=org, role="editor")


def signed_in(user):
    client = APIClient()
    client.force_authenticate(user)
    return client


def make_session(org, user, *, prompt="Why?", **fields):
    session = PlaygroundSession.objects.create(
        org=org,
        user=user,
        model_provider="ollama",
        model_name="tiny:1b",
        temperature=0.2,
        top_p=0.9,
        parameters={"temperature": 0.2, "top_p": 0.9, "num_ctx": 4096},
        **fields,
    )
    PlaygroundMessage.objects.create(session=session, role="system", content="Be kind.")
    PlaygroundMessage.objects.create(session=session, role="user", content=prompt)
    PlaygroundMessage.objects.create(
        session=session, role="assistant", content="Because.", latency_ms=120, input_tokens=9, output_tokens=2
    )
    return session


def ids(response):
    return [row["id"] for row in response.json()["sessions"]]


def test_the_list_is_newest_first_and_tells_the_settings(api, org, alice, url):
    first, second = make_session(org, alice), make_session(org, alice, prompt="p" * 500)
    response = api.get(url)
    assert ids(response) == [str(second.pk), str(first.pk)]
    row = response.json()["sessions"][1]
    assert row["user"] == {"id": str(alice.pk), "username": "alice"}
    assert (row["modelProvider"], row["modelName"]) == ("ollama", "tiny:1b")
    assert (row["temperature"], row["topP"], row["maxTokens"]) == (0.2, 0.9, None)
    assert (row["prompt"], row["messageCount"]) == ("Why?", 3)
    assert len(response.json()["sessions"][0]["prompt"]) < 500
    assert row["createdAt"].endswith("Z")


def test_the_list_goes_page_by_page(api, org, alice, url):
    made = [str(make_session(org, alice).pk) for _ in range(3)]
    first = api.get(url, {"limit": 2})
    assert ids(first) == made[:0:-1]
    assert ids(api.get(first.json()["next"])) == made[:1]


def test_the_list_costs_as_many_queries_for_many_as_for_one(
    api, org, alice, url, django_assert_num_queries, django_assert_max_num_queries
):
    make_session(org, alice)
    with django_assert_max_num_queries(10) as few:
        api.get(url)
    for _ in range(5):
        make_session(org, alice)
    with django_assert_num_queries(len(few.captured_queries)):
        api.get(url)


def test_one_session_comes_with_its_messages_in_order(api, org, alice, url):
    session = make_session(org, alice)
    body = api.get(f"{url}/{session.pk}").json()["session"]
    assert [(message["role"], message["content"]) for message in body["messages"]] == [
        ("system", "Be kind."),
        ("user", "Why?"),
        ("assistant", "Because."),
    ]
    question, answer = body["messages"][1:]
    assert (answer["latencyMs"], answer["inputTokens"], answer["outputTokens"]) == (120, 9, 2)
    assert (question["latencyMs"], question["inputTokens"]) == (None, None)


def test_members_see_their_own_sessions_alone(org, alice, bob, url):
    hers, his = make_session(org, alice), make_session(org, bob)
    client = signed_in(bob)
    assert ids(client.get(url)) == [str(his.pk)]
    assert client.get(f"{url}/{his.pk}").status_code == 200
    for method in (client.get, client.delete):
        response = method(f"{url}/{hers.pk}")
        assert (response.status_code, response.json()["error"]) == (404, "SESSION_NOT_FOUND")
    assert PlaygroundSession.objects.filter(pk=hers.pk).exists()


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_who_may_read_the_audit_log_sees_all_of_the_org(org, bob, url, role):
    his = make_session(org, bob)
    other = factories.make_org()
    make_session(other, factories.make_user(org=other))
    client = signed_in(factories.make_user(org=org, role=role))
    assert ids(client.get(url)) == [str(his.pk)]
    assert client.get(f"{url}/{his.pk}").status_code == 200


@pytest.mark.parametrize("role", ["rater", "viewer"])
def test_without_the_right_to_the_playground_it_is_403_naming_it(org, url, role):
    client = signed_in(factories.make_user(org=org, role=role))
    session = make_session(org, factories.make_user(org=org))
    for response in (
        client.get(url),
        client.get(f"{url}/{session.pk}"),
        client.delete(f"{url}/{session.pk}"),
    ):
        assert (response.status_code, response.json()["details"]["permission"]) == (403, "org:playground:use")


@pytest.mark.parametrize("session_id", [new_id(), "no-id"])
def test_a_made_up_id_is_404(api, url, session_id):
    response = api.get(f"{url}/{session_id}")
    assert (response.status_code, response.json()["error"]) == (404, "SESSION_NOT_FOUND")


def test_a_session_of_another_org_is_404_through_ones_own(api, url, charlie):
    elsewhere = charlie.memberships.get().org
    session = make_session(elsewhere, charlie)
    assert api.get(f"{url}/{session.pk}").status_code == 404
    assert api.delete(f"{url}/{session.pk}").status_code == 404


def test_delete_takes_the_messages_along_and_leaves_an_event(org, bob, url):
    session = make_session(org, bob)
    response = signed_in(bob).delete(f"{url}/{session.pk}")
    assert (response.status_code, response.content) == (204, b"")
    assert not PlaygroundSession.objects.exists()
    assert not PlaygroundMessage.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.event, event.actor, event.object_id) == (
        "playground.session.deleted",
        bob,
        str(session.pk),
    )
    assert "Why?" not in str(event.before)


@pytest.mark.parametrize("method", ["put", "patch", "post"])
def test_a_session_cannot_be_changed(api, org, alice, url, method):
    response = getattr(api, method)(f"{url}/{make_session(org, alice).pk}", {}, format="json")
    assert (response.status_code, response.json()["error"]) == (405, "METHOD_NOT_ALLOWED")
