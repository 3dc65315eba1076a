"""One's own history: by page and by API, with search, page by page."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from evalsuite.ids import new_id
from playground import views
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def pages(org):
    return f"/app/orgs/{org.pk}/playground"


def make_session(org, user, prompt="Hi", model="tiny:1b", **fields):
    session = PlaygroundSession.objects.create(
        org=org, user=user, model_provider="ollama", model_name=model, temperature=0.7, top_p=1, **fields
    )
    for role, content in (("user", prompt), ("assistant", f"about {prompt}")):
        PlaygroundMessage.objects.create(session=session, role=role, content=content)
    return session


def make_comparison(org, user, prompt="Hi", models=("a:1b", "b:1b"), repeats=1):
    comparison = Comparison.objects.create(org=org, user=user, prompt=prompt, repeats=repeats)
    for repeat in range(repeats):
        for column, model in enumerate(models):
            make_session(org, user, prompt, model, comparison=comparison, column=column, repeat=repeat)
    return comparison


def told(client, pages, **query):
    return [
        (entry.prompt, entry.models, entry.columns, entry.answers)
        for entry in client.get(f"{pages}/history", query).context["entries"]
    ]


def test_each_press_of_run_is_one_entry_newest_first(client, pages, org, alice):
    make_session(org, alice, "first")
    make_comparison(org, alice, "second", repeats=3)
    make_session(org, alice, "third")
    assert told(client, pages) == [
        ("third", ["tiny:1b"], 1, 1),
        ("second", ["a:1b", "b:1b"], 2, 6),
        ("first", ["tiny:1b"], 1, 1),
    ]


def test_the_history_is_one_s_own(client, pages, org, charlie):
    make_session(org, factories.make_user(org=org), "a colleague's")
    make_session(charlie.memberships.get().org, charlie, "elsewhere")
    assert told(client, pages) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("HERON", ["the heron"]),
        ("b:1b", ["the heron"]),
        ("tiny", ["an owl"]),
        ("about", []),  # answers are not looked through
        ("%", []),
        ("  ", ["an owl", "the heron"]),
    ],
)
def test_search_looks_at_prompts_and_models(client, pages, org, alice, words, found):
    make_comparison(org, alice, "the heron")
    make_session(org, alice, "an owl")
    assert [prompt for prompt, *_ in told(client, pages, search=words)] == found


def test_the_history_comes_page_by_page(
    client, pages, org, alice, monkeypatch, django_assert_max_num_queries
):
    monkeypatch.setattr(views, "SHOWN", 2)
    for number in range(5):
        make_comparison(org, alice, f"n {number}")
    seen, query = [], "?search=n"
    with django_assert_max_num_queries(30):
        while query:
            context = client.get(f"{pages}/history{query}").context
            seen += [entry.prompt for entry in context["entries"]]
            query = context["next"]
    assert seen == ["n 4", "n 3", "n 2", "n 1", "n 0"]


def test_htmx_gets_the_list_alone(client, pages, org, alice):
    make_session(org, alice, "<b>bold</b>")
    answer = client.get(f"{pages}/history", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in answer
    assert "&lt;b&gt;bold&lt;/b&gt;" in answer


def test_deleting_removes_all_of_a_press_of_run_and_notes_it(client, pages, org, alice):
    comparison = make_comparison(org, alice, repeats=2)
    kept = make_session(org, alice, "kept")
    session = comparison.sessions.last()
    response = client.post(f"{pages}/sessions/{session.pk}/delete")
    assert [entry.prompt for entry in response.context["entries"]] == ["kept"]
    assert list(PlaygroundSession.objects.all()) == [kept]
    event = AuditEvent.objects.get()
    assert (event.event, event.before) == ("playground.comparison.deleted", {"sessions": 4, "user": "alice"})
    client.post(f"{pages}/sessions/{kept.pk}/delete")
    assert not PlaygroundMessage.objects.exists()


def test_a_session_opens_with_the_others_of_its_press_of_run(client, pages, org, alice):
    comparison = make_comparison(org, alice)
    lone = make_session(org, alice)
    api = f"/api/v1/orgs/{org.pk}/playground"
    for session, address in [
        (comparison.sessions.last(), f"{api}/comparisons/{comparison.pk}"),
        (lone, f"{api}/sessions/{lone.pk}"),
    ]:
        page = client.get(f"{pages}/sessions/{session.pk}")
        assert (page.status_code, page.context["opened"]) == (200, address)


def test_what_is_not_one_s_own_is_404(client, pages, org, charlie):
    colleague = make_session(org, factories.make_user(org=org))
    elsewhere = make_session(charlie.memberships.get().org, charlie)
    for session_id in (colleague.pk, elsewhere.pk, new_id(), "x"):
        assert client.get(f"{pages}/sessions/{session_id}").status_code == 404
        assert client.post(f"{pages}/sessions/{session_id}/delete").status_code == 404
    assert PlaygroundSession.objects.count() == 2


def test_the_api_s_list_can_be_searched_and_narrowed_to_one_s_own(api, org, alice):
    make_session(org, alice, "the heron")
    make_session(org, alice, "an owl")
    make_session(org, factories.make_user(org=org), "a colleague's heron")
    url = f"/api/v1/orgs/{org.pk}/playground/sessions"

    def prompts(**query):
        return [row["prompt"] for row in api.get(url, query).json()["sessions"]]

    assert prompts(search="heron") == ["a colleague's heron", "the heron"]
    assert prompts(search="heron", mine="true") == ["the heron"]
    assert len(prompts(mine="false")) == 3


@pytest.mark.parametrize("query", [{"mine": "yes"}, {"search": "x" * 201}, {"search": "\0"}])
def test_a_bad_query_is_400(api, org, query):
    response = api.get(f"/api/v1/orgs/{org.pk}/playground/sessions", query)
    assert (response.status_code, list(response.json()["details"])) == (400, list(query))


def test_the_page_offers_only_what_one_may(client, pages, org, alice):
    page = client.get(pages).content.decode()
    assert 'data-do="variant"' in page
    assert 'id="profile-dialog"' in page
