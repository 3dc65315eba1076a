"""What a cell tells is what happened: no cut prompt is an answer, no load a latency, no time invented."""

from __future__ import annotations

import statistics

import pytest

from experiments.models import EvalScore, Evaluator, ExperimentInput
from llm_routing import embedded
from llm_routing.embedded import EmbeddedServer
from tests import factories
from tests.experiments.test_execution import run_to_end, states
from tests.fakes.loading_ollama import NS_PER_S, LoadingOllama
from tests.fakes.openai import FakeOpenAI, answer
from tests.llm_routing.test_embedded_model import needs_engine

pytestmark = pytest.mark.django_db(transaction=True)

NS_PER_MS = NS_PER_S / 1000
COLD_MS = 500


def make_experiment(org, model, prompts):
    """One variant that sends each prompt as it is."""
    factories.set_default_model(org, model)
    experiment = factories.make_experiment(org, variants=1)
    ExperimentInput.objects.bulk_create(
        ExperimentInput(experiment=experiment, key=f"case_{n}", content=prompt, expected="echo")
        for n, prompt in enumerate(prompts)
    )
    metric = factories.make_metric(org)
    Evaluator.objects.create(experiment=experiment, metric=metric, kind="contains", name="E")
    return experiment


def results(api, experiment):
    url = f"/api/v1/orgs/{experiment.org_id}/experiments/{experiment.pk}/results"
    return api.get(url).json()["variants"][0]


def runs_api(api, batch):
    url = f"/api/v1/orgs/{batch.experiment.org_id}/experiments/{batch.experiment_id}/runs"
    return api.get(url, {"limit": 200}).json()["runs"]


def test_prompts_that_are_too_long_fail_without_a_score_and_are_in_no_average(embedded_worker, api, org):
    prompts = [f"short {n}" for n in range(6)] + [f"{'word ' * 5000} {n}" for n in range(3)]
    with LoadingOllama(call_s=0.01) as server:
        model = factories.make_model(base_url=server.base_url, num_ctx=512)
        experiment = make_experiment(org, model, prompts)
        batch = run_to_end(experiment)
        assert len(server.served) == 6
    assert states(batch) == {"succeeded": 6, "failed": 3}
    failed = batch.runs.filter(state="failed")
    assert set(failed.values_list("error_code", "output", "latency_ms", "attempt")) == {
        ("PROMPT_TOO_LONG", "", None, 1)
    }
    assert "5,006 of 512 tokens" in failed.first().error_message
    assert set(EvalScore.objects.values_list("run__state", flat=True)) == {"succeeded"}
    told = results(api, experiment)
    assert told["latency"]["n"] == 6
    assert told["tokens"]["inputMean"] == 2 + 5
    assert [metric["n"] for metric in told["metrics"]] == [6]


def test_a_server_that_cuts_gives_answers_that_are_marked(embedded_worker, api, org):
    class Cutting(FakeOpenAI):
        """Keeps the last hundred words, and says nothing."""

        def default(self, seen):
            words = len(seen.body["messages"][-1]["content"].split())
            return answer("Hello", prompt=min(words, 100) + 5)

    prompts = ["the secret is 1 " + "word " * 400, "hello", "word " * 80]
    with Cutting() as server:
        model = factories.make_model("m", kind="openai_compatible", slug="v1", base_url=server.url)
        batch = run_to_end(make_experiment(org, model, prompts))
        told = runs_api(api, batch)
    assert {run["inputId"]: run["mayBeCut"] for run in told} == {
        str(row.pk): len(row.content) > 1000 for row in batch.experiment.inputs.all()
    }


def test_every_part_of_the_time_is_what_the_server_says(embedded_worker, org):
    with LoadingOllama(load_s=0.6, call_s=0.03, parallel=2) as server:
        model = factories.make_model(base_url=server.base_url, slots=4)  # two wait in the server's own queue
        batch = run_to_end(make_experiment(org, model, [f"case {n}" for n in range(20)]))
        said = {one.prompt: one.last for one in server.served}
    assert states(batch) == {"succeeded": 20}
    waited = []
    for run in batch.runs.select_related("input"):
        last = said[run.input.content]
        parts = [last[f"{name}_duration"] / NS_PER_MS for name in ("load", "prompt_eval", "eval")]
        in_all = last["total_duration"] / NS_PER_MS
        assert [run.load_ms, run.prompt_ms, run.decode_ms] == pytest.approx(parts, abs=1)
        assert run.provider_wait_ms == pytest.approx(in_all - sum(parts), abs=1)
        assert run.latency_ms >= in_all - 1
        assert run.first_token_ms <= run.latency_ms + 1
        assert run.tokens_per_second == pytest.approx(7 / parts[2] * 1000, rel=0.01)
        assert run.cold_start is (parts[0] >= COLD_MS)
        waited.append(run.provider_wait_ms)
    assert max(waited) > 10


def test_a_load_is_marked_and_moves_no_median(embedded_worker, api, org):
    with LoadingOllama(load_s=1.5, call_s=0.03) as server:
        model = factories.make_model(base_url=server.base_url, slots=2)
        experiment = make_experiment(org, model, [f"case {n}" for n in range(12)])
        first = run_to_end(experiment)
        first.runs.filter(cold_start=True).delete()
        before = results(api, experiment)["latency"]
        assert before["coldStarts"] == 0
        server.unload()
        second = run_to_end(experiment)
        loads = [one for one in server.served[-12:] if one.last["load_duration"] >= COLD_MS * NS_PER_MS]
    cold = second.runs.filter(cold_start=True)
    assert set(cold.values_list("input__content", flat=True)) == {one.prompt for one in loads}
    assert 1 <= len(loads) <= 2
    assert min(cold.values_list("latency_ms", flat=True)) >= 1400
    after = results(api, experiment)["latency"]
    warm = experiment.runs.filter(state="succeeded", cold_start=False).values_list("latency_ms", flat=True)
    assert after["coldStarts"] == len(loads)
    assert after["n"] == before["n"] + 12 - len(loads)
    assert after["p50Ms"] == pytest.approx(statistics.median(warm))
    assert max(after["p50Ms"], after["p95Ms"], before["p95Ms"]) < 1000


class TestEmbeddedEngine:
    pytestmark = needs_engine

    def test_no_answer_to_a_prompt_whose_front_did_not_fit(self, embedded_worker, org):
        secret = "The secret word is BANANA. "
        ask = " What is the secret word?"
        prompts = [f"{secret}{'word ' * words}{ask}" for words in (20, 150, 220, 240, 260, 400, 2000)]
        with EmbeddedServer(context=256) as server:
            model = factories.make_model(
                embedded.MODEL_NAME, kind="openai_compatible", slug="embedded", base_url=server.base_url
            )
            batch = run_to_end(make_experiment(org, model, prompts))
        too_long = set()
        for run in batch.runs.select_related("input"):
            words = len(run.input.content.split())
            if run.state == "succeeded":
                assert run.input_tokens > words  # the whole of it was read
                assert run.input_tokens <= 256
                assert not run.may_be_cut
            else:
                assert (run.state, run.error_code, run.output) == ("failed", "PROMPT_TOO_LONG", "")
                too_long.add(words)
        assert {word for word in too_long if word > 256} == {
            len(prompt.split()) for prompt in prompts if len(prompt.split()) > 256
        }
        assert 0 < len(too_long) < len(prompts)
