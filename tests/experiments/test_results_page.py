"""The results of a batch on the experiment's page: the grid, its filters and orders, and the list."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from evalsuite.audit.models import AuditEvent
from experiments.models import Thumb
from tests import factories
from tests.experiments.results import cell, make_batch, make_experiment, score

pytestmark = pytest.mark.django_db
PART = {"hx-request": "true", "hx-target": "results-view"}


@pytest.fixture
def experiment(org):
    return make_experiment(org)


@pytest.fixture
def batch(experiment):
    return make_batch(experiment)


@pytest.fixture
def show(client, alice, org, experiment):
    """The results as htmx fetches them."""
    client.force_login(alice)

    def get(query="", *, status=200):
        response = client.get(f"/app/orgs/{org.pk}/experiments/{experiment.pk}{query}", headers=PART)
        assert response.status_code == status
        return response.content.decode()

    return get


def rows(text):
    """Keys of the inputs, from top to bottom."""
    return re.findall(r'<th scope="row">\s*<span class="key">(\w+)</span>', text)


def test_a_row_for_each_input_and_a_column_for_each_variant(show, batch):
    text = show()
    assert rows(text) == ["case_1", "case_2", "case_3"]
    assert text.count('class="grid-variant"') == 2
    for run in batch.runs.all():
        assert run.output in text
    assert "tiny:1b" in text
    assert "text 1" in text


def test_the_newest_batch_is_in_view_unless_the_query_names_another(show, batch, experiment):
    make_batch(experiment, output="a newer answer")
    assert "a newer answer" in show()
    assert "variant 1 on case_1" in show(f"?batch={batch.pk}")


def test_a_page_has_so_many_inputs(client, alice, org, show):
    experiment = make_experiment(org, inputs=30)
    make_batch(experiment)
    client.force_login(alice)
    url = f"/app/orgs/{org.pk}/experiments/{experiment.pk}"
    assert len(rows(client.get(url, headers=PART).content.decode())) == 25
    second = client.get(f"{url}?page=2", headers=PART).content.decode()
    assert rows(second) == [f"case_{n}" for n in range(26, 31)]
    assert "Page 2 of 2" in second
    behind = client.get(f"{url}?page=9", headers=PART).content.decode()
    assert (rows(behind), "Page 2 of 2" in behind) == (rows(second), True)


def test_behind_the_end_a_full_last_page_is_shown_whole(client, alice, org):
    experiment = make_experiment(org, inputs=50)
    make_batch(experiment)
    client.force_login(alice)
    url = f"/app/orgs/{org.pk}/experiments/{experiment.pk}"
    assert rows(client.get(f"{url}?page=9", headers=PART).content.decode())[0] == "case_26"


def test_by_state(show, batch):
    batch.runs.filter(pk=cell(batch, 2, "case_2").pk).update(state="failed", error_message="It broke.")
    text = show("?state=failed")
    assert rows(text) == ["case_2"]
    assert "It broke." in text
    assert text.count("grid-cell fits") == 1


def test_by_thumb(show, batch, alice):
    up, down = cell(batch, 1, "case_1"), cell(batch, 1, "case_2")
    batch.runs.filter(pk=up.pk).update(thumbs_up=True)
    batch.runs.filter(pk=down.pk).update(thumbs_up=False)
    assert rows(show("?thumb=up")) == ["case_1"]
    assert rows(show("?thumb=down")) == ["case_2"]
    batch.runs.filter(input__key="case_3").update(thumbs_up=True)
    assert rows(show("?thumb=none")) == ["case_1", "case_2"]


def test_by_score_range_over_the_mean_of_the_raters(show, batch, org, alice):
    style = factories.make_metric(org, "style")
    bob = factories.make_user("bob", org=org)
    score(cell(batch, 1, "case_1"), style, 2, rater=alice)
    score(cell(batch, 1, "case_1"), style, 5, rater=bob)
    score(cell(batch, 2, "case_2"), style, 5, rater=alice)
    assert rows(show("?metric=style&from=3&to=4")) == ["case_1"]
    assert rows(show("?metric=style&from=4")) == ["case_2"]
    assert rows(show("?metric=style&to=9")) == ["case_1", "case_2"]


def test_by_latency_tokens_and_thumbs(show, batch, alice):
    run = cell(batch, 2, "case_3")
    batch.runs.filter(pk=run.pk).update(latency_ms=9_000, output_tokens=77)
    Thumb.objects.create(run=run, rater=alice, up=True)
    assert rows(show("?metric=latency&from=5000")) == ["case_3"]
    assert rows(show("?metric=tokens&from=70&to=80")) == ["case_3"]
    assert rows(show("?metric=thumbs&from=1")) == ["case_3"]


def test_only_where_two_variants_differ(show, batch):
    batch.runs.filter(input__key="case_1").update(output="the same")
    batch.runs.filter(input__key="case_2").update(output="the same")
    batch.runs.filter(pk=cell(batch, 2, "case_2").pk).update(state="failed")
    assert rows(show("?differ=1")) == ["case_2", "case_3"]
    a = batch.runs.first().variant_id
    assert rows(show(f"?differ=1&a={a}&state=failed")) == ["case_2"]


def test_by_disagreement_those_without_a_value_last(show, batch, org, alice):
    style = factories.make_metric(org, "style")
    for key, first, second in (("case_2", 1, 2), ("case_3", 1, 5)):
        score(cell(batch, 1, key), style, first, rater=alice)
        score(cell(batch, 2, key), style, second, rater=alice)
    assert rows(show("?sort=disagreement&metric=style")) == ["case_3", "case_2", "case_1"]


@pytest.mark.parametrize(("direction", "order"), [("higher", [3, 2, 1]), ("lower", [2, 3, 1])])
def test_by_loss_of_b_against_a(show, batch, org, alice, direction, order):
    metric = factories.make_metric(org, "quality", direction=direction)
    for key, first, second in (("case_2", 1, 2), ("case_3", 5, 1)):
        score(cell(batch, 1, key), metric, first, rater=alice)
        score(cell(batch, 2, key), metric, second, rater=alice)
    assert rows(show("?sort=loss&metric=quality")) == [f"case_{n}" for n in order]


def test_by_loss_of_latency(show, batch):
    batch.runs.filter(pk=cell(batch, 2, "case_2").pk).update(latency_ms=5_000)
    assert rows(show("?sort=loss&metric=latency"))[0] == "case_2"


def test_repeats_share_a_cell_with_their_mean(client, alice, org):
    experiment = make_experiment(org, inputs=1, variants=1)
    batch = make_batch(experiment, repeats=5)
    metric = factories.make_metric(org)
    for repeat, value in enumerate((1, 1, 1, 1, 0), 1):
        score(cell(batch, 1, "case_1", repeat), metric, value, rater=alice)
    last = cell(batch, 1, "case_1", 5)
    batch.runs.filter(pk=last.pk).update(state="failed", error_message="It broke.")
    client.force_login(alice)
    url = f"/app/orgs/{org.pk}/experiments/{experiment.pk}"
    text = client.get(url, headers=PART).content.decode()
    assert "1 of 5" in text
    assert "<strong>0.8</strong>" in text
    assert "1 failed" in text
    failed = client.get(f"{url}?state=failed", headers=PART).content.decode()
    assert "5 of 5" in failed, "the repeat that fits is the one that is shown"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?state=nonsense", "State:"),
        ("?thumb=sideways", "Thumb:"),
        ("?sort=astrology", "Sort:"),
        ("?metric=latency&from=abc", "From:"),
        ("?metric=latency&from=nan", "From:"),
        ("?metric=latency&to=1e999", "To:"),
        ("?metric=latency&from=5&to=1", "before it begins"),
        ("?from=5", "Choose what the range is of."),
        ("?metric=unheard_of", "Metric:"),
        ("?a=0190a0a0-0000-7000-8000-000000000000", "A:"),
        ("?b=%00", "B:"),
        ("?page=many", ""),
        ("?page=99999999999999999999", ""),
        ("?view=hologram", ""),
        ("?cell=nonsense", ""),
    ],
)
def test_bad_values_are_named_and_left_out(show, batch, query, said):
    text = show(query)
    assert said in text
    assert rows(text) == ["case_1", "case_2", "case_3"]


def test_a_batch_of_another_experiment_is_not_found(show, org):
    other = make_batch(make_experiment(org))
    show(f"?batch={other.pk}", status=404)
    show("?batch=nonsense", status=404)


def test_the_list_has_the_same_filters(show, batch):
    text = show("?view=list")
    assert text.count('class="card outlined cell"') == 6
    batch.runs.filter(pk=cell(batch, 2, "case_2").pk).update(state="failed")
    assert show("?view=list&state=failed").count('class="card outlined cell"') == 1
    assert show("?view=list&differ=1").count('class="card outlined cell"') == 6


def test_without_runs_it_says_so(client, alice, org, experiment):
    client.force_login(alice)
    text = client.get(f"/app/orgs/{org.pk}/experiments/{experiment.pk}").content.decode()
    assert "No runs yet. Add inputs & variants, then click Run." in text


def test_what_was_written_is_text(show, batch):
    bad = "<img src=x onerror=alert(1)>"
    batch.runs.update(output=bad)
    batch.experiment.inputs.update(content=bad, expected=bad)
    batch.experiment.variants.update(name=bad)
    text = show("?differ=1&sort=loss") + show() + show("?view=list") + show("?view=charts")
    assert "<img" not in text
    assert "&lt;img" in text


@pytest.mark.parametrize("query", ["", "?view=list", "?state=succeeded&sort=disagreement"])
def test_queries_do_not_grow_with_cells(client, alice, org, query):
    client.force_login(alice)

    def queries(inputs, variants):
        experiment = make_experiment(org, inputs=inputs, variants=variants)
        batch = make_batch(experiment)
        metric = factories.make_metric(org, f"metric_{inputs}")
        for run in batch.runs.all():
            score(run, metric, 1, rater=alice)
            Thumb.objects.create(run=run, rater=alice, up=True)
        batch.runs.update(thumbs_up=True)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            client.get(f"/app/orgs/{org.pk}/experiments/{experiment.pk}{query}", headers=PART)
        return len(captured)

    assert queries(2, 2) == queries(20, 4)


def test_a_baseline_is_set_and_told(client, alice, org, experiment, batch):
    client.force_login(alice)
    url = f"/app/orgs/{org.pk}/experiments/{experiment.pk}"
    answer = client.post(f"{url}/baseline", {"batch": batch.pk})
    assert answer["HX-Refresh"] == "true"
    experiment.refresh_from_db()
    assert experiment.baseline == batch
    event = AuditEvent.objects.get(event="experiment.updated")
    assert (event.before["baselineId"], event.after["baselineId"]) == (None, str(batch.pk))
    assert "Baseline" in client.get(url).content.decode()
    client.post(f"{url}/baseline", {})
    experiment.refresh_from_db()
    assert experiment.baseline is None


def test_a_baseline_is_a_batch_of_the_experiment_and_set_by_those_who_write(client, alice, org, experiment):
    other = make_batch(make_experiment(org))
    client.force_login(alice)
    url = f"/app/orgs/{org.pk}/experiments/{experiment.pk}/baseline"
    assert client.post(url, {"batch": other.pk}).status_code == 404
    alice.memberships.update(role="rater")
    assert client.post(url, {}).status_code == 403
