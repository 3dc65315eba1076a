"""Hostile prompt templates reach the model, and the pages, as the text that they are."""

from __future__ import annotations

import html
import re
import time

import pytest
from django.conf import settings as product
from django.test import Client

from experiments.services import planning
from experiments.services.prompting import fill as fill_cell
from llm_routing.models import RegisteredModel
from playground.models import PlaygroundSession
from playground.prompting import fill, names_in
from tests import factories
from tests.fakes.ollama import FakeOllama
from tests.fuzz.templates import TEMPLATES

CONTENT = "the input, with {{ metadata.secret }} and {{ input }}"
IN_ONE = "\n".join(text for text in TEMPLATES if len(text) < 1_000)
FAST_S = 2.0  # for all of them: nothing in them makes a pattern slow


@pytest.fixture
def server(org, settings):
    settings.LIMIT_PLAYGROUND_PER_MINUTE = None
    with FakeOllama() as running:
        model = factories.make_model(base_url=running.url, slots=8)
        RegisteredModel.objects.filter(pk=model.pk).update(context_tokens=1_000_000, num_ctx=1_000_000)
        factories.set_default_model(org, model)
        yield running


def sent(server):
    """The messages of all calls, as they came over the socket."""
    return [seen.body["messages"] for seen in server.requests if (seen.body or {}).get("messages")]


def test_there_are_two_hundred():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 200


def test_filled_in_they_are_themselves():
    began = time.perf_counter()
    for text in TEMPLATES:
        whole = fill_cell(text + "{{ input }}", content=CONTENT, metadata={"secret": "s3cret"})
        assert whole == text + CONTENT
        values = {name: f"{{{{ {name} }}}}" for name in names_in(text)}
        assert re.sub(r"\s", "", fill(f"{text}!", values, longest=1_000_000)) == re.sub(r"\s", "", f"{text}!")
    assert time.perf_counter() - began < FAST_S


@pytest.mark.django_db(transaction=True)
def test_experiments_send_them_as_text(server, org, api, alice, embedded_worker):
    experiment = factories.make_experiment(org, inputs=1, user=alice)
    experiment.inputs.update(content=CONTENT, metadata={"secret": "s3cret"})
    address = f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/variants"
    for number, text in enumerate([*TEMPLATES, IN_ONE]):
        body = {
            "name": f"v{number}",
            "systemPrompt": text,
            "config": {"promptTemplate": f"{text}\n{{{{ input }}}}"},
        }
        answer = api.post(address, body, format="json")
        assert answer.status_code == 201, (text[:80], answer.content)
        assert answer.json()["variant"]["config"] == body["config"]
    batch = planning.start_batch(experiment=experiment, author=alice)
    assert planning.wait_until_finished(batch, timeout_s=60)
    assert set(batch.runs.values_list("state", flat=True)) == {"succeeded"}
    wanted = {(text, f"{text}\n{CONTENT}") for text in [*TEMPLATES, IN_ONE]}
    assert {(system["content"], user["content"]) for system, user in sent(server)} == wanted

    console = Client()
    console.force_login(alice)
    run = batch.runs.get(variant__name=f"v{len(TEMPLATES)}")
    shown_as_text(console.get(f"/app/orgs/{org.pk}/experiments/runs/{run.pk}"))
    shown_as_text(console.get(f"/app/orgs/{org.pk}/experiments/{experiment.pk}"), whole=False)


@pytest.mark.django_db(transaction=True)
def test_the_playground_sends_them_as_text(server, org, api, alice):
    for text in [*TEMPLATES, IN_ONE]:
        body = {"prompt": f"{text}!", "systemPrompt": text}
        answer = api.post(f"/api/v1/orgs/{org.pk}/playground/complete", body, format="json")
        assert answer.status_code == 200, (text[:80], answer.content)
    assert [(system["content"], user["content"]) for system, user in sent(server)] == [
        (text, f"{text}!") for text in [*TEMPLATES, IN_ONE]
    ]
    console = Client()
    console.force_login(alice)
    last = PlaygroundSession.objects.order_by("id").last()
    told = api.get(f"/api/v1/orgs/{org.pk}/playground/sessions/{last.pk}").json()["session"]["messages"]
    assert f"{IN_ONE}!" in [message["content"] for message in told], (
        "the page gets it so, and sets it as text"
    )
    shown_as_text(console.get(f"/app/orgs/{org.pk}/playground/sessions/{last.pk}"), whole=False)
    shown_as_text(console.get(f"/app/orgs/{org.pk}/playground/history"), whole=False)


def shown_as_text(answer, *, whole=True):
    """A page with them has each escaped, and has evaluated none."""
    assert answer.status_code == 200
    page = answer.content.decode()
    assert product.SECRET_KEY not in page
    assert not re.search(r"<script>|<img src=x|<svg/onload|<h1>mine|hx-get='/'|<style", page)
    if whole:
        lines = html.unescape(page).replace("\r\n", "\n")
        for text in IN_ONE.replace("\r\n", "\n").split("\n"):
            assert text in lines, text
