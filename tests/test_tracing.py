"""One trace from the press of Run to each call of a model, as a collector receives it; or none at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes

from evalsuite import tracing
from evalsuite.env import ROOT
from experiments.models import Batch
from experiments.services import planning
from tests import factories
from tests.fakes.traces import TraceReceiver

PROMPT, KEY = "canary-in-a-prompt", "canary-in-a-key"


@pytest.fixture
def model(org, ollama):
    model = factories.make_model(base_url=ollama.base_url)
    model.provider.api_key = KEY
    model.provider.save()
    factories.set_default_model(org, model)
    return model


@pytest.fixture
def collector(settings):
    """Traces are on. A function that ends them and gives what came."""
    with TraceReceiver() as receiver:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = receiver.url
        tracing.begin()

        def received():
            tracing.end()
            return receiver

        yield received
        tracing.end()


def run(api, org, experiment):
    """Press Run and wait for the answer; gives the batch."""
    answer = api.post(f"/api/v1/orgs/{org.pk}/experiments/{experiment.pk}/run", {}, format="json")
    assert answer.status_code in {200, 202}, answer.content
    batch = Batch.objects.get(experiment=experiment)
    assert planning.wait_until_finished(batch, timeout_s=60)
    return batch


def of(spans, kind):
    return [span for span in spans if span.kind == kind]


def test_each_cell_is_followed_from_the_request_to_the_provider(collector, api, org, model, embedded_worker):
    experiment = factories.make_experiment(org, inputs=3, variants=2)
    batch = run(api, org, experiment)
    spans = collector().spans
    [request] = of(spans, "SERVER")
    assert request.name == f"POST {request.facts['http.route']}"
    assert request.facts["http.response.status_code"] in {200, 202}
    assert request.parent == ""
    attempts, calls = of(spans, "INTERNAL"), of(spans, "CLIENT")
    assert len(attempts) == len(calls) == 6
    assert {span.trace for span in spans} == {request.trace}
    assert {span.parent for span in attempts} == {request.id}
    assert {span.parent for span in calls} == {span.id for span in attempts}
    runs = {str(pk) for pk in batch.runs.values_list("pk", flat=True)}
    assert {span.facts["evalsuite.run.id"] for span in attempts} == runs
    assert {span.facts["evalsuite.batch.id"] for span in attempts} == {str(batch.pk)}
    assert {span.service for span in spans} == {"evalsuite"}


def test_the_call_is_told_of_as_the_conventions_have_it(collector, api, org, model, embedded_worker):
    batch = run(api, org, factories.make_experiment(org, inputs=1, variants=1))
    [call] = of(collector().spans, "CLIENT")
    cell = batch.runs.get()
    assert call.name == f"chat {model.name}"
    assert not call.failed
    told = call.facts | {"server.port": None, "gen_ai.response.time_to_first_chunk": None}
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": model.name,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "text",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": None,
        "gen_ai.usage.input_tokens": cell.input_tokens,
        "gen_ai.usage.output_tokens": cell.output_tokens,
        "server.address": "127.0.0.1",
        "server.port": None,
    }
    assert call.facts["gen_ai.response.time_to_first_chunk"] < 10
    packages = (gen_ai_attributes, server_attributes, http_attributes, error_attributes)
    named = {value for package in packages for value in vars(package).values() if isinstance(value, str)}
    assert set(call.facts) <= named


def test_a_large_batch_is_linked_to_the_request_instead(
    collector, api, org, model, embedded_worker, settings
):
    settings.RUN_SYNC_CELLS = 2
    run(api, org, factories.make_experiment(org, inputs=3, variants=1))
    spans = collector().spans
    [request] = of(spans, "SERVER")
    attempts = of(spans, "INTERNAL")
    assert {tuple(span.links) for span in attempts} == {(f"{request.trace} {request.id}",)}
    assert {span.parent for span in attempts} == {""}
    assert len({span.trace for span in (request, *attempts)}) == 4
    parts = {span.trace: span.id for span in attempts}
    assert all(parts[call.trace] == call.parent for call in of(spans, "CLIENT"))


def test_what_fails_has_its_code_and_nothing_that_anybody_wrote(collector, api, org, model, embedded_worker):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    experiment.inputs.update(content=f"{PROMPT} too-long")
    run(api, org, experiment)
    receiver = collector()
    failed = [span for span in receiver.spans if span.failed]
    assert {span.kind for span in failed} == {"INTERNAL", "CLIENT"}
    assert {span.facts["error.type"] for span in failed} == {"PROMPT_TOO_LONG"}
    assert PROMPT.encode() not in receiver.raw
    assert KEY.encode() not in receiver.raw


def test_a_playground_request_is_one_trace(collector, api, org, model):
    path = f"/api/v1/orgs/{org.pk}/playground/complete"
    assert api.post(path, {"prompt": PROMPT}, format="json").status_code == 200
    receiver = collector()
    [request], [call] = of(receiver.spans, "SERVER"), of(receiver.spans, "CLIENT")
    assert (call.trace, call.parent) == (request.trace, request.id)
    assert PROMPT.encode() not in receiver.raw


def test_a_collector_that_is_away_harms_nothing(api, org, model, settings):
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:9"
    tracing.begin()
    try:
        path = f"/api/v1/orgs/{org.pk}/playground/complete"
        assert api.post(path, {"prompt": "hello"}, format="json").status_code == 200
    finally:
        tracing.end()


@pytest.mark.parametrize(("endpoint", "imported"), [("", False), ("http://127.0.0.1:9", True)])
def test_no_exporter_is_imported_where_it_is_off(endpoint, imported):
    code = "import django, sys; django.setup(); import evalsuite.urls, experiments.tasks;"
    code += " from evalsuite.tracing import tracer;"
    code += " print('opentelemetry.exporter' in sys.modules, tracer is not None)"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "evalsuite.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(imported)] * 2


def test_the_extra_must_be_there_where_it_is_on(settings, monkeypatch):
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:9"
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(tracing.ImproperlyConfigured, match=r"\[otel\] is not installed"):
        tracing.begin()
    assert tracing.tracer is None
