"""The console's pages of metrics."""

from __future__ import annotations

import pytest

from evalsuite.audit.models import AuditEvent
from experiments.models import EvalMetricDefinition, EvalScore
from tests import factories


@pytest.fixture
def url(org):
    return f"/app/orgs/{org.pk}/metrics"


@pytest.fixture
def console(client, alice):
    client.force_login(alice)
    return client


FORM = {
    "key": "style",
    "direction": "higher",
    "minimum": "1",
    "maximum": "5",
    "labels": "1 = poor\n\n5 = a = b",
}


def test_a_metric_is_made_and_listed(console, org, url):
    response = console.post(url, FORM)
    assert response["HX-Redirect"] == url
    metric = EvalMetricDefinition.objects.get(org=org)
    assert (metric.key, metric.name, metric.scale) == ("style", "style", "custom")
    assert (metric.minimum, metric.maximum, metric.step) == (1, 5, None)
    assert metric.labels == {"1": "poor", "5": "a = b"}
    assert AuditEvent.objects.get().event == "experiment.metric.created"
    page = console.get(url).content.decode()
    assert "1 to 5" in page
    assert "Not used yet" in page


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"key": "A B"}, "key", "Small letters"),
        ({"key": ""}, "key", "required"),
        ({"maximum": "0"}, "maximum", "greater than the minimum"),
        ({"minimum": "nan"}, "minimum", "number"),
        ({"minimum": "inf"}, "minimum", "number"),
        ({"step": "-1"}, "step", "greater than 0"),
        ({"labels": "perfect"}, "labels", "Line 1"),
        ({"labels": "1 = a\n1 = b"}, "labels", "label already"),
        ({"labels": "9 = a"}, "labels", "not on the scale"),
        ({"key": "thumbs"}, "key", "such as my_thumbs"),
        ({"direction": "up"}, None, ""),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_lost(console, url, change, field, words):
    response = console.post(url, {**FORM, **change, "description": "kept <b>as is</b>"})
    assert (response.status_code, response["HX-Retarget"]) == (400, "#metric-form")
    form = response.content.decode()
    assert "kept &lt;b&gt;as is&lt;/b&gt;" in form
    if field:
        assert words in form.split(f'id="metric-{field}-error">')[1].split("</p>")[0]
    assert not EvalMetricDefinition.objects.exists()


def test_a_key_that_exists_is_refused(console, org, url):
    factories.make_metric(org, "style")
    assert console.post(url, FORM).status_code == 409


def test_a_metric_is_changed_and_its_key_stays(console, org, url):
    metric = factories.make_metric(org, "style", minimum=1, maximum=5, labels={"5": "perfect"})
    page = f"{url}/{metric.pk}"
    shown = console.get(page).content.decode()
    assert "5 = perfect" in shown
    assert 'value="1"' in shown
    values = {"key": "other", "name": "Style", "direction": "lower", "maximum": "10", "scale": "0-10"}
    assert console.post(page, values)["HX-Redirect"] == url
    metric.refresh_from_db()
    assert (metric.key, metric.name, metric.direction) == ("style", "Style", "lower")
    assert (metric.minimum, metric.maximum, metric.labels) == (None, 10, {})
    refused = console.post(page, {**values, "minimum": "11"})
    assert refused.status_code == 400
    assert "greater than the minimum" in refused.content.decode()


def test_an_unused_metric_is_deleted_and_a_used_one_is_kept(console, org, url):
    unused, used = factories.make_metric(org, "unused"), factories.make_metric(org, "used")
    run = factories.make_run(factories.make_experiment(org, inputs=1, variants=1))
    EvalScore.objects.create(run=run, metric=used, value=1)
    assert "Delete this metric" in console.get(f"{url}/{unused.pk}").content.decode()
    shown = console.get(f"{url}/{used.pk}").content.decode()
    assert "Delete this metric" not in shown
    assert "used by 1 score;" in shown
    assert console.post(f"{url}/{used.pk}/delete").status_code == 409
    assert console.post(f"{url}/{unused.pk}/delete")["HX-Redirect"] == url
    assert [metric.key for metric in EvalMetricDefinition.objects.all()] == ["used"]


def test_who_may_only_read_sees_no_form(client, org, url):
    metric = factories.make_metric(org, "style")
    client.force_login(factories.make_user(org=org, role="viewer"))
    for page in (url, f"{url}/{metric.pk}"):
        shown = client.get(page).content.decode()
        assert "style" in shown
        assert "metric-form" not in shown
    for address in (url, f"{url}/{metric.pk}", f"{url}/{metric.pk}/delete"):
        assert client.post(address, FORM).status_code == 403


def test_another_orgs_metric_is_not_there(console, url):
    metric = factories.make_metric(factories.make_org(), "theirs")
    assert console.get(f"{url}/{metric.pk}").status_code == 404
    assert console.post(f"{url}/{metric.pk}", FORM).status_code == 404
    assert console.post(f"{url}/{metric.pk}/delete").status_code == 404
    assert "theirs" not in console.get(url).content.decode()


def test_the_list_costs_the_same_for_many_metrics(console, org, url, django_assert_max_num_queries):
    for number in range(30):
        factories.make_metric(org, f"m{number}")
    with django_assert_max_num_queries(9):
        console.get(url)
