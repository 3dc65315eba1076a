"""The bench's stream over a real web server: columns, repeats, stops, limits, formats."""

from __future__ import annotations

import time
from collections import Counter
from threading import Event, Thread

import pytest

from evalsuite.ids import new_id
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession
from tests import factories
from tests.fakes.ollama import answer, last, piece, stream
from tests.fakes.server import Cut, Pause
from tests.playground.conftest import ends, events
from tests.quotas.helpers import assert_books_balance, limit

pytestmark = pytest.mark.django_db(transaction=True)
SIX = ("a", "b", "c", "d", "e", "f")


def test_six_columns_are_answered_over_one_stream(bench, bench_ollama, org, alice):
    bench_ollama.scripts = {name: answer(f"I am {name}") for name in SIX}
    got = bench.run(*SIX)
    assert got[0] == ("start", {"comparisonId": got[0][1]["comparisonId"], "columns": 6, "repeats": 1})
    assert got[-1] == ("end", {})
    assert Counter(name for name, _ in got) == {"start": 1, "session": 6, "delta": 6, "done": 6, "end": 1}
    done = {place[0]: data for place, (_, data) in ends(got).items()}
    assert [done[n]["output"] for n in range(6)] == [f"I am {name}" for name in SIX]
    comparison = Comparison.objects.get()
    assert (comparison.org, comparison.user, comparison.prompt) == (org, alice, "hi")
    places = comparison.sessions.order_by("column").values_list("column", "repeat")
    assert list(places) == [(n, 0) for n in range(6)]


def test_all_columns_stream_at_the_same_time(bench, bench_ollama):
    bench_ollama.scripts = {name: stream(piece("x"), Pause(0.8), last()) for name in SIX}
    bench.run(*SIX)
    assert bench_ollama.peak == 6


def test_an_answer_tells_what_was_measured(bench, bench_ollama):
    bench_ollama.scripts["a"] = stream(
        piece("", thinking="Hm."), piece("Yes"), last(load_duration=900_000_000, reason="length")
    )
    [(name, done)] = ends(bench.run("a", columns=[{"systemPrompt": "a", "think": True}])).values()
    assert name == "done"
    assert done["firstTokenMs"] > 0
    assert done["latencyMs"] + 1 > done["firstTokenMs"]  # the former is a whole number
    ours = ("sessionId", "messageId", "firstTokenMs", "latencyMs")
    assert {name: value for name, value in done.items() if name not in ours} == {
        "column": 0,
        "repeat": 0,
        "output": "Yes",
        "thinking": "Hm.",
        "tokensPerSecond": 200.0,
        "inputTokens": 26,
        "outputTokens": 8,
        "stopReason": "length",
        "coldStart": True,
        "mayBeCut": False,
        "valid": None,
        "problem": None,
    }
    message = PlaygroundMessage.objects.get(pk=done["messageId"])
    assert (message.content, message.thinking, message.cold_start) == ("Yes", "Hm.", True)


def test_each_column_has_its_own_settings(bench, bench_ollama, org):
    other = factories.make_model("other:1b", base_url=bench_ollama.url)
    profile = factories.make_profile(org, temperature=0.2, max_tokens=9)
    bench.run(
        columns=[
            {"systemPrompt": "own", "modelName": other.name, "seed": 7, "stop": ["\n"], "think": "low"},
            {"chatProfileId": str(profile.pk), "topP": 0.5},
        ]
    )
    own, profiled = bench_ollama.seen("own").body, bench_ollama.seen("You are kind.").body
    assert (own["model"], own["think"]) == ("other:1b", "low")
    assert (own["options"]["seed"], own["options"]["stop"]) == (7, ["\n"])
    assert (profiled["model"], profiled["options"]["temperature"]) == ("tiny:1b", 0.2)
    assert (profiled["options"]["num_predict"], profiled["options"]["top_p"]) == (9, 0.5)
    session = PlaygroundSession.objects.get(column=1)
    assert (session.chat_profile, session.chat_profile_version) == (profile, 1)


def test_repeats_ask_each_column_so_often_and_no_more_than_six_at_a_time(bench, bench_ollama):
    got = ends(bench.run("a", "b", repeats=10))
    assert sorted(got) == [(column, repeat) for column in range(2) for repeat in range(10)]
    assert {name for name, _ in got.values()} == {"done"}
    assert len(bench_ollama.requests) == 20
    assert bench_ollama.peak <= 6
    assert PlaygroundSession.objects.values("comparison").distinct().count() == 1


def test_variables_are_filled_in_once_and_kept_as_sent(bench, bench_ollama):
    values = {"name": "{{ other }}", "other": "<b>"}
    bench.run("a", prompt="{{name}} and {{ other }}, {{ 1 }} {{}}", variables=values)
    sent = "{{ other }} and <b>, {{ 1 }} {{}}"
    assert bench_ollama.requests[0].body["messages"][-1]["content"] == sent
    assert PlaygroundMessage.objects.get(role="user").content == sent
    comparison = Comparison.objects.get()
    assert (comparison.prompt, comparison.variables) == ("{{name}} and {{ other }}, {{ 1 }} {{}}", values)


def test_without_variables_braces_are_text(bench, bench_ollama):
    bench.run("a", prompt="{{ name }}")
    assert bench_ollama.requests[0].body["messages"][-1]["content"] == "{{ name }}"


def test_a_provider_that_dies_in_the_middle_of_one_leaves_the_others_alone(bench, bench_ollama):
    bench_ollama.scripts = {name: stream(piece("One"), Pause(0.3), piece(" two"), last()) for name in SIX}
    bench_ollama.scripts["c"] = stream(piece("One"), Pause(0.1), Cut())
    got = ends(bench.run(*SIX))
    assert [got[n, 0][0] for n in range(6)] == ["done", "done", "error", "done", "done", "done"]
    failed = got[2, 0][1]
    assert failed["error"] == "PROVIDER_ERROR"
    assert failed["details"]["message"]
    kept = PlaygroundMessage.objects.get(session=failed["sessionId"], role="assistant")
    assert (kept.content, kept.error_code) == ("One", "PROVIDER_ERROR")
    assert kept.error_message == failed["details"]["message"]


def test_a_stopped_column_ends_within_a_second_and_the_others_go_on(bench, bench_ollama):
    bench_ollama.scripts = {
        "a": stream(piece("One"), Pause(20), last()),
        "b": stream(piece("One"), Pause(1.5), piece(" two"), last()),
    }
    with bench.open("a", "b") as response:
        coming = events(response)
        comparison = next(coming)[1]["comparisonId"]
        wait_for_deltas(coming, 2)
        stopped = time.monotonic()
        assert bench.post(f"comparisons/{comparison}/stop", {"column": 0}).json() == {"ok": True}
        got = ends(coming)
    bench_ollama.wait_until_left(bench_ollama.seen("a"))
    assert bench_ollama.seen("a").left_at - stopped < 1
    assert (got[0, 0][0], got[0, 0][1]["error"]) == ("error", "CANCELLED")
    assert got[1, 0][1]["output"] == "One two"
    kept = PlaygroundMessage.objects.get(session__column=0, role="assistant")
    assert (kept.content, kept.error_code) == ("One", "CANCELLED")


def test_stopping_all_reaches_a_stream_of_another_process(bench, bench_ollama):
    """Another web process leaves its wish in the row, and nowhere else."""
    bench_ollama.scripts = {name: stream(piece("One"), Pause(20), last()) for name in SIX}
    with bench.open(*SIX) as response:
        coming = events(response)
        comparison = next(coming)[1]["comparisonId"]
        wait_for_deltas(coming, 6)
        stopped = time.monotonic()
        Comparison.objects.filter(pk=comparison).update(stopped=0b111111)
        got = ends(coming)
    assert {data["error"] for _, data in got.values()} == {"CANCELLED"}
    for name in SIX:
        bench_ollama.wait_until_left(bench_ollama.seen(name))
        assert bench_ollama.seen(name).left_at - stopped < 1


def test_a_stop_ends_the_repeats_that_wait_as_well(bench, bench_ollama):
    bench_ollama.scripts = {"a": stream(piece("One"), Pause(20), last())}
    with bench.open("a", repeats=20) as response:
        coming = events(response)
        comparison = next(coming)[1]["comparisonId"]
        wait_for_deltas(coming, 6)
        bench.post(f"comparisons/{comparison}/stop", {})
        got = ends(coming)
    assert [data["error"] for _, data in got.values()] == ["CANCELLED"] * 20
    assert len(bench_ollama.requests) == 6
    assert_books_balance(Comparison.objects.get().org)


def test_a_stop_reaches_who_still_waits_for_a_slot(bench, bench_ollama, org):
    one = factories.make_model("one:1b", slug="one", base_url=bench_ollama.url, slots=1)
    bench_ollama.scripts = {name: stream(piece("One"), Pause(20), last()) for name in "ab"}
    asked = {"modelProvider": "one", "modelName": one.name}
    with bench.open(columns=[{**asked, "systemPrompt": "a"}, {**asked, "systemPrompt": "b"}]) as response:
        coming = events(response)
        comparison = next(coming)[1]["comparisonId"]
        wait_for_deltas(coming, 1)
        bench.post(f"comparisons/{comparison}/stop", {})
        stopped = time.monotonic()
        assert len(ends(coming)) == 2
        assert time.monotonic() - stopped < 10
    assert len(bench_ollama.requests) == 1


def test_a_client_that_leaves_stops_all_columns(bench, bench_ollama):
    bench_ollama.scripts = {name: stream(piece("One"), Pause(20), last()) for name in SIX}
    response = bench.open(*SIX, repeats=2)
    wait_for_deltas(events(response), 6)
    left = time.monotonic()
    response.close()
    for name in SIX:
        bench_ollama.wait_until_left(bench_ollama.seen(name))
        assert bench_ollama.seen(name).left_at - left < 1
    assert len(bench_ollama.requests) == 6


def wait_for_deltas(coming, count):
    while count:
        count -= next(coming)[0] == "delta"


def test_who_comes_after_a_stop_is_not_stopped(bench, bench_ollama):
    first = bench.run("a")[0][1]["comparisonId"]
    bench.post(f"comparisons/{first}/stop", {})
    assert ends(bench.run("a"))[0, 0][0] == "done"


def test_a_refused_call_has_its_reason_in_its_place(bench, bench_ollama, org):
    limit(org, tokens_per_day=100)
    columns = [{"systemPrompt": "a", "maxTokens": 30}, {"systemPrompt": "b", "maxTokens": 30}]
    got = ends(bench.run(columns=columns, repeats=3))
    names = Counter(data.get("error", "done") for _, data in got.values())
    assert names["QUOTA_EXCEEDED"] >= 3
    assert names["done"] >= 1
    assert sum(names.values()) == 6
    refused = next(data for name, data in got.values() if name == "error")
    assert refused["details"]["name"] == "tokensPerDay"
    assert "sessionId" not in refused
    assert PlaygroundSession.objects.count() == names["done"]
    assert_books_balance(org)


def test_a_user_s_requests_per_minute_count_each_call(bench, org):
    limit(org, playground_per_minute=0)
    got = ends(bench.run("a", "b"))
    assert {data["error"] for _, data in got.values()} == {"RATE_LIMITED"}
    assert not PlaygroundSession.objects.exists()


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("wanted", "text", "valid", "problem"),
    [
        ("json", '{"n": 1}', True, ""),
        ("json", "Sure: {}", False, "no valid JSON"),
        (SCHEMA, '{"n": 1}', True, ""),
        (SCHEMA, '{"n": "one"}', False, "does not fit the schema"),
    ],
)
def test_an_answer_in_a_format_says_whether_it_is_valid(bench, bench_ollama, wanted, text, valid, problem):
    bench_ollama.scripts["a"] = answer(text)
    [(name, done)] = ends(bench.run(columns=[{"systemPrompt": "a", "format": wanted}])).values()
    assert bench_ollama.requests[0].body["format"] == wanted
    assert (name, done["output"], done["valid"], done["outputTokens"]) == ("done", text, valid, 8)
    assert problem in (done["problem"] or "")
    kept = PlaygroundMessage.objects.get(pk=done["messageId"])
    assert (kept.content, kept.error_code) == (text, "" if valid else "INVALID_ANSWER")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"columns": []}, "columns"),
        ({"columns": [{}] * 7}, "columns"),
        ({"columns": {}}, "columns"),
        ({"columns": [{}, {"temperature": 3}]}, "columns.1.temperature"),
        ({"columns": [{"topP": True}]}, "columns.0.topP"),
        ({"columns": [{"temprature": 1}]}, "columns.0.temprature"),
        ({"columns": [{"stop": [""]}]}, "columns.0.stop.0"),
        ({"columns": [{"stop": ["x"] * 17}]}, "columns.0.stop"),
        ({"columns": [{"seed": 2**70}]}, "columns.0.seed"),
        ({"columns": [{"think": "hard"}]}, "columns.0.think"),
        ({"columns": [{"format": "yaml"}]}, "columns.0.format"),
        ({"columns": [{"format": {"type": "obejct"}}]}, "columns.0.format"),
        ({"columns": [{"format": {"patternProperties": {}}}]}, "columns.0.format"),
        ({"columns": [{"sessionId": "x", "seed": 1}]}, "columns.0.sessionId"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 21}, "repeats"),
        ({"repeats": "2"}, "repeats"),
        ({"prompt": "{{ a }}", "variables": {}}, "variables.a"),
        ({"prompt": "{{ a }}", "variables": {"a": "1", "b": "2"}}, "variables.b"),
        ({"prompt": "{{ a }}", "variables": {"a": 1}}, "variables.a"),
        ({"prompt": "{{ a }}", "variables": {"a": " "}}, "prompt"),
        ({"prompt": "{{ a }}{{ a }}", "variables": {"a": "x" * 600_000}}, "prompt"),
    ],
)
def test_bad_input_is_400_and_names_the_field(api, org, body, field):
    given = {"prompt": "hi", "columns": [{}], **body} if body else {"columns": [{}]}
    url = f"/api/v1/orgs/{org.pk}/playground/compare/stream"
    response = api.post(url, given, format="json")
    assert response.status_code == 400
    assert response.json()["error"] == "INVALID_BODY"
    assert field in response.json()["details"]
    assert not Comparison.objects.exists()


def test_a_session_goes_on_once_at_a_time(api, org, alice):
    session = PlaygroundSession.objects.create(org=org, user=alice, model_name="m", temperature=0.7, top_p=1)
    body = {"prompt": "hi", "columns": [{}, {"sessionId": str(session.pk)}], "repeats": 2}
    response = api.post(f"/api/v1/orgs/{org.pk}/playground/compare/stream", body, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, ["repeats"])
    assert not Comparison.objects.exists()


def test_an_invalid_schema_is_told_of_in_words(api, org):
    body = {"prompt": "hi", "columns": [{"format": {"type": "obejct"}}]}
    details = api.post(f"/api/v1/orgs/{org.pk}/playground/compare/stream", body, format="json").json()[
        "details"
    ]
    assert "'obejct' is not valid" in details["columns.0.format"][0]


@pytest.fixture
def foreign():
    """A profile and a session of another org."""
    other = factories.make_org()
    session = PlaygroundSession.objects.create(
        org=other, user=factories.make_user(org=other), model_name="m", temperature=0.7, top_p=1
    )
    return factories.make_profile(other), session


def test_what_a_column_names_must_be_there_and_one_s_own(api, org, alice, foreign):
    factories.set_default_model(org, factories.make_model())
    colleague = PlaygroundSession.objects.create(
        org=org, user=factories.make_user(org=org), model_name="m", temperature=0.7, top_p=1
    )
    profile, session = foreign
    for column, code in [
        ({"chatProfileId": str(profile.pk)}, "CHAT_PROFILE_NOT_FOUND"),
        ({"chatProfileId": "nonsense"}, "CHAT_PROFILE_NOT_FOUND"),
        ({"sessionId": str(session.pk)}, "SESSION_NOT_FOUND"),
        ({"sessionId": str(colleague.pk)}, "SESSION_NOT_FOUND"),
        ({"modelName": "nope"}, "MODEL_NOT_FOUND"),
    ]:
        response = api.post(
            f"/api/v1/orgs/{org.pk}/playground/compare/stream",
            {"prompt": "hi", "columns": [{}, column]},
            format="json",
        )
        assert (response.status_code, response.json()["error"]) == (404, code)
        assert response.json()["details"]["column"] == 1
    assert not Comparison.objects.exists()


def test_only_one_s_own_comparisons_can_be_stopped(api, org, alice, charlie):
    colleague = factories.make_user(org=org)
    elsewhere = charlie.memberships.get().org
    url = f"/api/v1/orgs/{org.pk}/playground/comparisons"
    for owner_org, user in [(org, colleague), (elsewhere, charlie), (elsewhere, alice)]:
        comparison = Comparison.objects.create(org=owner_org, user=user, prompt="hi")
        for response in (
            api.post(f"{url}/{comparison.pk}/stop", {}, format="json"),
            api.get(f"{url}/{comparison.pk}"),
            api.delete(f"{url}/{comparison.pk}"),
        ):
            assert (response.status_code, response.json()["error"]) == (404, "COMPARISON_NOT_FOUND")
        comparison.refresh_from_db()
        assert comparison.stopped == 0
    assert api.post(f"{url}/{new_id()}/stop", {}, format="json").status_code == 404


@pytest.mark.parametrize("column", [-1, 6, "0", 1.5])
def test_a_stop_of_no_column_is_400(api, org, alice, column):
    comparison = Comparison.objects.create(org=org, user=alice, prompt="hi")
    url = f"/api/v1/orgs/{org.pk}/playground/comparisons/{comparison.pk}/stop"
    response = api.post(url, {"column": column}, format="json")
    assert (response.status_code, list(response.json()["details"])) == (400, ["column"])


def test_stops_from_several_sides_add_up(api, org, alice):
    comparison = Comparison.objects.create(org=org, user=alice, prompt="hi")
    url = f"/api/v1/orgs/{org.pk}/playground/comparisons/{comparison.pk}/stop"
    for column in (0, 2, 2):
        assert api.post(url, {"column": column}, format="json").json() == {"ok": True}
    comparison.refresh_from_db()
    assert comparison.stopped == 0b101


@pytest.mark.parametrize("role", ["rater", "viewer"])
def test_without_the_permission_nothing_is_run(api, org, alice, role):
    alice.memberships.update(role=role)
    response = api.post(
        f"/api/v1/orgs/{org.pk}/playground/compare/stream", {"prompt": "hi", "columns": [{}]}, format="json"
    )
    assert (response.status_code, response.json()["details"]["permission"]) == (403, "org:playground:use")


def test_other_requests_are_answered_while_twelve_columns_stream(bench, bench_ollama, site, org):
    """Each bench is one connection, and its calls live in threads of their own."""
    goes_on = Event()
    bench_ollama.scripts = {name: stream(piece("x"), Pause(until=goes_on), last()) for name in SIX}
    busy = [Thread(target=bench.run, args=SIX) for _ in range(2)]
    for thread in busy:
        thread.start()
    bench_ollama.wait_for_request(8)
    assert bench.post("comparisons/x/stop", {}).status_code == 404
    assert all(thread.is_alive() for thread in busy)
    goes_on.set()
    for thread in busy:
        thread.join()
