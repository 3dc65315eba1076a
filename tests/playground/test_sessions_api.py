"""What was tried in the playground: read and removed by whom it belongs to."""

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
    """An editor, who may not read the audit log."""
    return factories.make_user("bob", org=org, role="editor")


def signed_in(user):
    client = APIClient()
    client.force_authenticate(user)
    return client


def make_session(org, user, prompt="Hi", **fields):
    session = PlaygroundSession.objects.create(
        org=org, user=user, model_provider="ollama", model_name="tiny:1b", temperature=0.7, top_p=1, **fields
    )
    for role, content in (("system", "Be kind."), ("user", prompt), ("assistant", "Hello")):
        PlaygroundMessage.objects.create(session=session, role=role, content=content)
    PlaygroundMessage.objects.filter(session=session, role="assistant").update(latency_ms=7, output_tokens=2)
    return session


def error(response):
    return response.status_code, response.json()["error"]


def test_a_session_is_read_with_its_messages_in_order(api, url, org, alice):
    session = make_session(org, alice, parameters={"seed": 1})
    told = api.get(f"{url}/{session.pk}").json()["session"]
    assert (told["id"], told["user"]["username"]) == (str(session.pk), "alice")
    assert (told["modelName"], told["parameters"], told["maxTokens"]) == ("tiny:1b", {"seed": 1}, None)
    assert [message["role"] for message in told["messages"]] == ["system", "user", "assistant"]
    answer = told["messages"][-1]
    assert (answer["content"], answer["latencyMs"], answer["outputTokens"]) == ("Hello", 7, 2)
    assert (answer["inputTokens"], answer["stopReason"], answer["errorCode"]) == (None, None, None)


@pytest.mark.parametrize(
    ("of_profile", "own"),
    [("Be kind.", None), ("Be short.", "Be kind."), ("", "Be kind."), (None, "Be kind.")],
)
def test_a_system_prompt_beside_the_profiles_is_told(api, url, org, alice, of_profile, own):
    profile = None if of_profile is None else factories.make_profile(org, system_prompt=of_profile)
    session = make_session(org, alice, chat_profile=profile, chat_profile_version=profile and 1)
    if profile:  # what it says by now is of no concern
        profile.system_prompt = "Be kind." if own else "Be short."
        profile.save()
    assert api.get(f"{url}/{session.pk}").json()["session"]["systemPrompt"] == own


def test_the_list_is_newest_first_with_the_beginning_of_each_prompt(api, url, org, alice):
    make_session(org, alice, "first")
    make_session(org, alice, "x" * 1000)
    rows = api.get(url).json()["sessions"]
    assert [(row["prompt"], row["messageCount"]) for row in rows] == [("x" * 200, 3), ("first", 3)]
    assert "messages" not in rows[0]


def test_the_list_comes_page_by_page_without_a_query_for_each(
    api, url, org, alice, django_assert_max_num_queries
):
    for number in range(5):
        make_session(org, alice, str(number))
    with django_assert_max_num_queries(4):
        first = api.get(url, {"limit": 3}).json()
    second = api.get(first["next"]).json()
    assert [row["prompt"] for row in first["sessions"] + second["sessions"]] == ["4", "3", "2", "1", "0"]
    assert second["next"] is None


def test_an_editor_sees_their_own_alone(url, org, alice, bob):
    hers, his = make_session(org, alice), make_session(org, bob)
    client = signed_in(bob)
    assert [row["id"] for row in client.get(url).json()["sessions"]] == [str(his.pk)]
    for method in ("get", "delete"):
        assert error(getattr(client, method)(f"{url}/{hers.pk}")) == (404, "SESSION_NOT_FOUND")
    assert client.delete(f"{url}/{his.pk}").status_code == 204


def test_who_reads_the_audit_log_sees_those_of_all(api, url, org, alice, bob):
    sessions = [make_session(org, alice), make_session(org, bob)]
    assert len(api.get(url).json()["sessions"]) == 2
    assert api.get(f"{url}/{sessions[1].pk}").status_code == 200


def test_a_deleted_session_is_gone_with_its_messages_and_noted(api, url, org, alice, bob):
    session = make_session(org, bob)
    assert api.delete(f"{url}/{session.pk}").status_code == 204
    assert not PlaygroundMessage.objects.exists()
    event = AuditEvent.objects.get()
    assert (event.event, event.actor, event.org) == ("playground.session.deleted", alice, org)
    assert event.before == {"modelName": "tiny:1b", "user": "bob"}


def test_sessions_of_another_org_are_404(api, url, charlie):
    other = make_session(factories.make_org(), charlie)
    assert api.get(url).json()["sessions"] == []
    for session_id in (other.pk, new_id(), "x"):
        for method in ("get", "delete"):
            assert error(getattr(api, method)(f"{url}/{session_id}")) == (404, "SESSION_NOT_FOUND")


@pytest.mark.parametrize("role", ["rater", "viewer"])
def test_without_the_playground_there_are_no_sessions(url, org, role):
    response = signed_in(factories.make_user(org=org, role=role)).get(url)
    assert (error(response), response.json()["details"]["permission"]) == (
        (403, "FORBIDDEN"),
        "org:playground:use",
    )


def test_a_session_cannot_be_changed(api, url, org, alice):
    session = make_session(org, alice)
    assert error(api.patch(f"{url}/{session.pk}", {}, format="json")) == (405, "METHOD_NOT_ALLOWED")
