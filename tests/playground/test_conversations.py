"""A session goes on: what is sent again, what is kept, and who may."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from playground.models import Comparison, PlaygroundMessage, PlaygroundSession
from tests import factories
from tests.fakes.ollama import answer, last, piece, refusal, stream
from tests.playground.conftest import ends
from tests.quotas.helpers import assert_books_balance, limit

pytestmark = pytest.mark.django_db(transaction=True)


def contents(seen):
    return [(message["role"], message["content"]) for message in seen.body["messages"]]


def session_of(response):
    assert response.status_code == 200, response.text
    return response.json()["sessionId"]


def test_a_further_message_is_sent_with_all_that_was_said(bench, bench_ollama, org):
    first = session_of(bench.post("complete", {"prompt": "hi", "systemPrompt": "a", "temperature": 1.5}))
    answered = bench.post(f"sessions/{first}/messages", {"prompt": "and now?"})
    assert session_of(answered) == first
    assert set(answered.json()) == {"sessionId", "output", "latencyMs", "inputTokens", "outputTokens"}
    said = [("system", "a"), ("user", "hi"), ("assistant", "Hello"), ("user", "and now?")]
    assert contents(bench_ollama.requests[1]) == said
    assert bench_ollama.requests[1].body["options"]["temperature"] == 1.5
    kept = PlaygroundMessage.objects.filter(session=first).order_by("id")
    assert list(kept.values_list("role", "content")) == [*said, ("assistant", "Hello")]
    assert PlaygroundSession.objects.count() == 1
    assert_books_balance(org)


def test_columns_go_on_over_one_stream(bench, bench_ollama):
    first = ends(bench.run("a", "b"))
    sessions = [first[column, 0][1]["sessionId"] for column in range(2)]
    columns = [{"sessionId": session} for session in sessions]
    got = ends(bench.run(columns=columns, prompt="{{ word }}?", variables={"word": "so"}))
    assert [
        data["sessionId"] for _, data in sorted(got.values(), key=lambda one: one[1]["column"])
    ] == sessions
    for seen in bench_ollama.requests[2:]:
        assert contents(seen)[1:] == [("user", "hi"), ("assistant", "Hello"), ("user", "so?")]
    assert PlaygroundSession.objects.count() == 2


def test_a_session_goes_on_once_at_a_time(bench, bench_ollama):
    session = session_of(bench.post("complete", {"prompt": "hi"}))
    response = bench.post(
        "compare/stream", {"prompt": "so?", "columns": [{"sessionId": session}], "repeats": 2}
    )
    assert (response.status_code, list(response.json()["details"])) == (400, ["repeats"])
    got = ends(bench.run(columns=[{"sessionId": session}, {"sessionId": session}]))
    assert sorted(data.get("error", "done") for _, data in got.values()) in (
        ["CONFLICT", "done"],
        ["done", "done"],  # one after the other
    )


def test_while_an_answer_is_written_nothing_more_can_be_asked(bench, bench_ollama, org, alice):
    session = session_of(bench.post("complete", {"prompt": "hi"}))
    waiting = PlaygroundMessage.objects.create(session_id=session, role="user", content="and?")
    response = bench.post(f"sessions/{session}/messages", {"prompt": "so?"})
    assert (response.status_code, response.json()["error"]) == (409, "CONFLICT")
    # The process that waited for that answer has died.
    PlaygroundMessage.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - timedelta(hours=1))
    assert bench.post(f"sessions/{session}/messages", {"prompt": "so?"}).status_code == 200
    assert contents(bench_ollama.requests[-1])[-1] == ("user", "so?")
    assert ("user", "and?") not in contents(bench_ollama.requests[-1])


def test_a_part_of_an_answer_is_sent_again_and_a_question_without_one_is_not(bench, bench_ollama):
    session = session_of(bench.post("complete", {"prompt": "hi", "systemPrompt": "a"}))
    bench_ollama.scripts["a"] = stream(piece("Par"), {"error": "model runner has unexpectedly stopped"})
    assert bench.post(f"sessions/{session}/messages", {"prompt": "second"}).status_code == 502
    bench_ollama.scripts["a"] = refusal(500, "model runner has unexpectedly stopped")
    assert bench.post(f"sessions/{session}/messages", {"prompt": "third"}).status_code == 502
    bench_ollama.scripts["a"] = answer("Done")
    session_of(bench.post(f"sessions/{session}/messages", {"prompt": "fourth"}))
    assert contents(bench_ollama.requests[-1])[1:] == [
        ("user", "hi"),
        ("assistant", "Hello"),
        ("user", "second"),
        ("assistant", "Par"),
        ("user", "fourth"),
    ]


def test_thinking_is_kept_and_never_sent_again(bench, bench_ollama):
    bench_ollama.scripts["a"] = stream(piece(thinking="secret"), piece("Yes"), last())
    session = session_of(bench.post("complete", {"prompt": "hi", "systemPrompt": "a"}))
    assert PlaygroundMessage.objects.get(role="assistant").thinking == "secret"
    bench.post(f"sessions/{session}/messages", {"prompt": "so?"})
    assert "secret" not in str(bench_ollama.requests[-1].body)


def test_a_refused_message_is_not_kept(bench, org):
    session = session_of(bench.post("complete", {"prompt": "hi"}))
    limit(org, playground_per_minute=0)
    assert bench.post(f"sessions/{session}/messages", {"prompt": "so?"}).status_code == 429
    assert PlaygroundMessage.objects.filter(role="user").count() == 1


@pytest.mark.parametrize("body", [{}, {"prompt": " "}, {"prompt": 1}, {"prompt": "hi", "temperature": 1}])
def test_bad_input_is_400(bench, body):
    session = session_of(bench.post("complete", {"prompt": "hi"}))
    response = bench.post(f"sessions/{session}/messages", body)
    assert (response.status_code, response.json()["error"]) == (400, "INVALID_BODY")


def test_only_one_s_own_sessions_go_on(bench, org, charlie):
    elsewhere = charlie.memberships.get().org
    for owner_org, user in [(org, factories.make_user(org=org)), (elsewhere, charlie)]:
        session = PlaygroundSession.objects.create(
            org=owner_org, user=user, model_name="m", temperature=0.7, top_p=1
        )
        response = bench.post(f"sessions/{session.pk}/messages", {"prompt": "hi"})
        assert (response.status_code, response.json()["error"]) == (404, "SESSION_NOT_FOUND")


def test_a_model_that_is_gone_says_so(bench, org):
    session = session_of(bench.post("complete", {"prompt": "hi"}))
    PlaygroundSession.objects.update(model_name="gone:1b")
    response = bench.post(f"sessions/{session}/messages", {"prompt": "so?"})
    assert (response.status_code, response.json()["error"]) == (404, "MODEL_NOT_FOUND")


def test_a_comparison_is_read_and_removed_as_a_whole(bench, api, org):
    start = bench.run("a", "b", prompt="{{ x }}", variables={"x": "1"}, repeats=2)[0][1]
    url = f"/api/v1/orgs/{org.pk}/playground/comparisons/{start['comparisonId']}"
    told = api.get(url).json()["comparison"]
    assert (told["prompt"], told["variables"], told["repeats"]) == ("{{ x }}", {"x": "1"}, 2)
    places = [(session["column"], session["repeat"]) for session in told["sessions"]]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [message["content"] for message in told["sessions"][2]["messages"]] == ["b", "1", "Hello"]
    assert api.delete(url).status_code == 204
    assert not PlaygroundSession.objects.exists()
    assert not Comparison.objects.exists()
