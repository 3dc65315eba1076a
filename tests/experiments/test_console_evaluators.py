"""The evaluators' card: what it shows to whom, and what its dialogs do and refuse."""

from __future__ import annotations

import pytest
from django.test import Client

from experiments.models import EvalScore, Evaluation, Evaluator
from tests import factories

RUBRIC = {"kind": "judge", "metricKey": "quality", "rubric": "Is it polite?"}


@pytest.fixture
def experiment(org):
    return factories.make_experiment(org, inputs=1, variants=1)


@pytest.fixture
def browser(alice):
    client = Client(headers={"HX-Request": "true"})
    client.force_login(alice)
    return client


@pytest.fixture
def url(org, experiment):
    return f"/app/orgs/{org.pk}/experiments/{experiment.pk}"


def test_the_page_has_the_card(browser, url, evaluator):
    page = Client()
    page.force_login(evaluator.experiment.org.memberships.get().user)
    text = page.get(url).content.decode()
    assert 'id="evaluators-card"' in text
    assert "scores correctness" in text
    assert "every 2s" not in text.partition("evaluators-card")[2].partition(">")[0]


def test_the_card_tells_what_waits_and_asks_again(browser, url, evaluator, run):
    Evaluation.objects.create(run=run, batch=run.batch, evaluator=evaluator)
    Evaluator.objects.update(waits_for="The limit <is> reached.")
    text = browser.get(f"{url}/evaluators").content.decode()
    assert "1 waiting" in text
    assert "every 2s" in text
    assert "The limit &lt;is&gt; reached." in text


def test_a_judge_is_added_by_the_dialog(browser, url, org):
    model = factories.make_model()
    form = browser.get(f"{url}/evaluators/new", {"kind": "judge"}).content.decode()
    assert f"ollama {model.name}" in form
    sent = {**RUBRIC, "scale.minimum": "1", "scale.maximum": "5", "scale.step": "1", "showPrompt": "on"}
    response = browser.post(
        f"{url}/evaluators", {**sent, "modelName": f"ollama {model.name}", "temperature": "0"}
    )
    assert (response.status_code, response["HX-Trigger"]) == (200, '{"evaluator-saved": {}}')
    assert 'hx-swap-oob="true"' in response.content.decode()
    judge = Evaluator.objects.get()
    assert (judge.name, judge.metric.key) == ("Model as judge", "quality")
    assert judge.config == {
        "rubric": "Is it polite?",
        "scale": {"minimum": 1, "maximum": 5, "step": 1},
        "modelProvider": "ollama",
        "modelName": model.name,
        "showPrompt": True,
        "showExpected": False,
        "think": False,
        "temperature": 0,
    }


@pytest.mark.parametrize(
    ("changes", "field", "word"),
    [
        ({}, "evaluator-scale-error", "needs a scale"),
        ({"scale.minimum": "low"}, "evaluator-scale.minimum-error", "must be a number"),
        ({"scale.minimum": "5", "scale.maximum": "1"}, "evaluator-scale.maximum-error", "above"),
        ({"rubric": ""}, "evaluator-rubric-error", "needs a rubric"),
        ({"temperature": "9", "scale.labels": "a = 1\nb = 2"}, "evaluator-temperature-error", "maximum"),
        ({"metricKey": "Not This"}, "evaluator-metric-words", "Small letters"),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_what_was_written_stays(browser, url, changes, field, word):
    response = browser.post(f"{url}/evaluators", {**RUBRIC, "rubric": "Keep <this>", **changes})
    text = response.content.decode()
    assert response.status_code == 200
    assert "HX-Trigger" not in response.headers
    error = text.partition(f'id="{field}"')[2].partition("</p>")[0]
    assert word in error
    if "rubric" not in changes:
        assert "Keep &lt;this&gt;" in text
    assert not Evaluator.objects.exists()


def test_a_model_that_is_not_to_be_had_is_said(browser, url):
    sent = {**RUBRIC, "scale.minimum": "0", "scale.maximum": "1", "modelName": "ollama nobody"}
    assert "no model nobody" in browser.post(f"{url}/evaluators", sent).content.decode()


def test_change_switch_and_delete(browser, url, evaluator):
    one = f"{url}/evaluators/{evaluator.pk}"
    assert 'value="Exact"' in browser.get(one).content.decode()
    browser.post(one, {"name": "Other", "metricKey": "correctness", "ignoreCase": "on"})
    evaluator.refresh_from_db()
    assert (evaluator.name, evaluator.config["ignoreCase"]) == ("Other", True)
    assert evaluator.config["ignorePunctuation"] is False
    assert "Switch on" in browser.post(f"{one}/switch", {"enabled": "off"}).content.decode()
    evaluator.refresh_from_db()
    assert evaluator.enabled is False
    browser.post(f"{one}/delete")
    assert not Evaluator.objects.exists()


def test_one_that_has_scored_is_kept(browser, url, evaluator, run):
    EvalScore.objects.create(run=run, metric=evaluator.metric, evaluator=evaluator, value=1)
    response = browser.post(f"{url}/evaluators/{evaluator.pk}/delete")
    assert (response.status_code, response["HX-Retarget"]) == (409, "#snackbar")


def test_evaluate_again(browser, url, org, evaluator, run):
    assert "1 in all" in browser.get(f"{url}/evaluate").content.decode()
    response = browser.post(f"{url}/evaluate", {"evaluator": [str(evaluator.pk)], "batch": str(run.batch_id)})
    assert "1 waiting" in response.content.decode()
    assert Evaluation.objects.get().run == run
    assert browser.post(f"{url}/evaluate", {}).status_code == 400
    assert browser.post(f"{url}/evaluate", {"evaluator": ["x"]}).status_code == 404


def test_who_may_only_read_gets_no_buttons_and_no_dialogs(org, url, evaluator):
    client = Client(headers={"HX-Request": "true"})
    client.force_login(factories.make_user(org=org, role="viewer"))
    text = client.get(f"{url}/evaluators").content.decode()
    assert "Exact" in text
    assert "<button" not in text
    assert client.get(f"{url}/evaluators/new").status_code == 403
    assert client.post(f"{url}/evaluate").status_code == 403


def test_evaluators_of_other_experiments_are_not_found(browser, org, url, evaluator):
    other = factories.make_experiment(org)
    away = url.rpartition("/")[0] + f"/{other.pk}/evaluators/{evaluator.pk}"
    assert browser.get(away).status_code == 404
    assert browser.post(f"{away}/switch").status_code == 404
