"""The engine with the worker of the serve process: in-memory broker, threads, a provider on a socket."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from evalsuite.errors import Conflict
from evalsuite.quotas.models import UsageCounter, UsageRecord
from experiments.models import Batch, EvalScore, Evaluator, ExperimentInput, ExperimentRun, RunAttempt
from experiments.services import claiming, crew, execution, planning, recording, steering, sweeping
from experiments.services.crew import Crew
from experiments.services.evaluation import Panel
from llm_routing import routing, slots
from llm_routing.types import Completion, Timings
from tests import factories
from tests.experiments.conftest import wait_for
from tests.fakes.obedient_ollama import ObedientOllama

pytestmark = pytest.mark.django_db(transaction=True)


def run_to_end(experiment, **options):
    batch = planning.start_batch(experiment=experiment, author=None, **options)
    assert planning.wait_until_finished(batch, timeout_s=60)
    return batch


def states(batch):
    return Counter(batch.runs.values_list("state", flat=True))


def add_input(experiment, content):
    number = experiment.inputs.count() + 1
    return ExperimentInput.objects.create(experiment=experiment, key=f"case_{number}", content=content)


def test_every_cell_is_answered_and_recorded_once(embedded_worker, experiment, ollama):
    batch = run_to_end(experiment)
    assert states(batch) == {"succeeded": 20}
    assert batch.state == "finished"
    assert set(batch.runs.values_list("attempt", flat=True)) == {1}
    assert RunAttempt.objects.filter(run__batch=batch, outcome="succeeded").count() == 20
    assert sum(ollama.calls.values()) == 20
    run = batch.runs.select_related("input").first()
    assert run.output == f"echo: {run.input.content}"
    assert (run.input_tokens, run.output_tokens, run.model_digest) == (7, 5, "d1g357")
    assert run.messages == [{"role": "user", "content": run.input.content}]
    assert (run.load_ms, run.prompt_ms, run.decode_ms, run.provider_wait_ms) == (1, 2, 5, 1)
    assert run.latency_ms + 1 > run.first_token_ms > 0
    assert run.tokens_per_second == pytest.approx(1000)


def test_no_caller_goes_on_before_the_first_result_is_shown(embedded_worker, experiment, ollama, monkeypatch):
    called = []

    def slowly(*given):
        if not called:
            time.sleep(0.3)
        called.append(sum(ollama.calls.values()))
        record(*given)

    record = recording.record_for_certain
    monkeypatch.setattr(recording, "record_for_certain", slowly)
    monkeypatch.setattr(crew, "FIRST_S", 10)
    assert states(run_to_end(experiment, parallel=4)) == {"succeeded": 20}
    assert called[0] <= 4
    assert len(called) > 1


def test_ledger_counter_and_audit_log_agree_with_the_cells(embedded_worker, experiment):
    batch = run_to_end(experiment)
    ledger = UsageRecord.objects.filter(org=experiment.org)
    attempts = RunAttempt.objects.filter(run__batch=batch)
    assert set(ledger.values_list("attempt", flat=True)) == set(attempts.values_list("pk", flat=True))
    counter = UsageCounter.objects.get(org=experiment.org, day=timezone.now().date())
    assert (counter.calls, counter.tokens) == (20, 20 * 12)
    assert AuditEvent.objects.filter(event="experiment.run.completed").count() == 20


def test_a_transient_failure_is_tried_again(embedded_worker, experiment, ollama):
    add_input(experiment, "please flaky-503")
    batch = run_to_end(experiment)
    assert states(batch) == {"succeeded": 22}
    assert ollama.calls["please flaky-503"] == 3  # the first of both variants' calls failed
    outcomes = Counter(RunAttempt.objects.filter(run__batch=batch).values_list("outcome", flat=True))
    assert outcomes == {"succeeded": 22, "retry": 1}


def test_permanent_failures_end_their_cell_at_once_and_harm_no_other(embedded_worker, experiment, ollama):
    add_input(experiment, "this is too-long")
    batch = run_to_end(experiment)
    assert states(batch) == {"succeeded": 20, "failed": 2}
    failed = batch.runs.filter(state="failed").first()
    assert failed.error_code == "PROMPT_TOO_LONG"
    assert failed.error_message == "too long: 931 of 512 tokens"
    assert failed.output == ""
    assert failed.attempt == 1


def test_a_failure_that_does_not_go_away_ends_after_all_attempts(
    embedded_worker, experiment, ollama, settings, monkeypatch
):
    settings.CELL_ATTEMPTS = 3
    monkeypatch.setattr(recording, "BACKOFF_S", 0.01)
    add_input(experiment, "please fail-503")
    batch = run_to_end(experiment)
    failed = batch.runs.filter(state="failed")
    assert states(batch) == {"succeeded": 20, "failed": 2}
    assert {(run.error_code, run.attempt) for run in failed} == {("PROVIDER_UNAVAILABLE", 3)}


def test_an_answer_that_breaks_off_is_never_a_result(embedded_worker, experiment, settings, monkeypatch):
    settings.CELL_ATTEMPTS = 1
    broken = add_input(experiment, "this is broken")
    batch = run_to_end(experiment)
    assert set(batch.runs.filter(input=broken).values_list("state", "output")) == {("failed", "")}


def test_slots_of_the_endpoint_are_never_exceeded(embedded_worker, org):
    with ObedientOllama(delay_s=0.1) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=2))
        experiment = factories.make_experiment(org, inputs=10, variants=2)
        first = planning.start_batch(experiment=experiment, author=None)
        second = planning.start_batch(experiment=experiment, author=None)
        assert planning.wait_until_finished(first, timeout_s=60)
        assert planning.wait_until_finished(second, timeout_s=60)
        assert ollama.peak == 2


def test_the_batch_s_parallel_limit_holds(embedded_worker, org):
    with ObedientOllama(delay_s=0.1) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=16))
        experiment = factories.make_experiment(org, inputs=10, variants=2)
        run_to_end(experiment, parallel=3)
        assert ollama.peak == 3


def test_cancelling_keeps_what_is_in_the_air_and_calls_nothing_more(embedded_worker, org, alice):
    with ObedientOllama(delay_s=0.1) as ollama:
        factories.set_default_model(org, factories.make_model(base_url=ollama.base_url, slots=2))
        experiment = factories.make_experiment(org, inputs=20, variants=1)
        batch = planning.start_batch(experiment=experiment, author=alice)
        wait_for(lambda: batch.runs.filter(state="succeeded").exists())
        steering.cancel(batch, actor=alice)
        assert planning.wait_until_finished(batch, timeout_s=60)
        assert batch.state == "cancelled"
        counted = states(batch)
        assert counted["cancelled"] > 10
        assert counted["succeeded"] == sum(ollama.calls.values()) == 20 - counted["cancelled"]
        with pytest.raises(Conflict):
            steering.cancel(batch, actor=alice)


def test_failed_cells_alone_are_run_again(embedded_worker, experiment, alice, ollama, settings):
    settings.CELL_ATTEMPTS = 1
    add_input(experiment, "please flaky-503")
    batch = run_to_end(experiment, variant_ids=[experiment.variants.first().pk])
    assert states(batch) == {"succeeded": 10, "failed": 1}
    settings.CELL_ATTEMPTS = 5
    assert steering.retry_failed(batch, actor=alice) == 1
    assert planning.wait_until_finished(batch, timeout_s=60)
    assert states(batch) == {"succeeded": 11}
    assert sum(ollama.calls.values()) == 12


def test_running_again_adds_new_cells(embedded_worker, experiment):
    run_to_end(experiment)
    run_to_end(experiment)
    assert experiment.runs.count() == 40


def test_evaluators_score_every_answer_in_the_workers(embedded_worker, experiment, org):
    experiment.inputs.filter(key="case_1").update(expected="Echo: text 1.")
    experiment.inputs.filter(key="case_2").update(expected=None)
    metric = factories.make_metric(org)
    evaluator = Evaluator.objects.create(
        experiment=experiment, metric=metric, kind="exact_match", name="Exact"
    )
    batch = run_to_end(experiment)
    values = Counter(EvalScore.objects.filter(run__batch=batch).values_list("value", flat=True))
    assert values == {1.0: 2, 0.0: 16}
    unscored = batch.runs.get(input__key="case_2", variant=experiment.variants.first())
    assert unscored.evaluation_notes == {str(evaluator.pk): "The input has no expected answer."}


def claimed(experiment, *, want=1):
    batch = planning.start_batch(experiment=experiment, author=None)
    return batch, claiming.claim(batch, group_of(batch), want, "test").cells


def group_of(batch):
    run = batch.runs.first()
    return claiming.Group(run.model_id, run.load_key)


def answer(cell, content="late"):
    return recording.Answered(cell, Completion(content=content, timings=Timings(total_ms=1)))


def test_a_batch_that_stands_still_gives_no_cell(experiment, alice):
    batch, [cell] = claimed(experiment)
    steering.pause(batch, actor=alice)
    assert claiming.claim(batch, group_of(batch), 1, "another").cells == []
    steering.resume(batch, actor=alice)
    [second] = claiming.claim(batch, group_of(batch), 1, "another").cells
    assert second.run_id != cell.run_id


def test_a_worker_that_was_given_up_records_nothing(experiment):
    batch, [cell] = claimed(experiment)
    ExperimentRun.objects.filter(pk=cell.run_id).update(lease_until=timezone.now() - timezone.timedelta(1))
    assert sweeping.take_back_expired() == {batch.pk}
    [second] = claiming.claim(batch, group_of(batch), 1, "another").cells
    assert (second.run_id, second.attempt) == (cell.run_id, 2)
    recording.record(batch, Panel(experiment), [answer(cell)])
    run = ExperimentRun.objects.get(pk=cell.run_id)
    assert (run.state, run.output) == ("running", "")
    recording.record(batch, Panel(experiment), [answer(second, "mine"), answer(second, "twice")])
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "mine")
    assert UsageRecord.objects.count() == 1
    outcomes = list(run.attempts.order_by("number").values_list("outcome", flat=True))
    assert outcomes == ["lost", "succeeded"]


def test_a_cell_that_loses_its_worker_three_times_fails(experiment):
    batch, [cell] = claimed(experiment)
    for round_number in range(3):
        ExperimentRun.objects.filter(pk=cell.run_id).update(
            lease_until=timezone.now() - timezone.timedelta(1)
        )
        sweeping.take_back_expired()
        # Twice it comes back; the second time as the last of all, since it may kill again.
        again = [one.run_id for one in claiming.claim(batch, group_of(batch), 20, "again").cells]
        assert (cell.run_id in again) is (round_number < 2)
    lost = ExperimentRun.objects.get(batch=batch, crashes=3)
    assert (lost.pk, lost.state, lost.error_code) == (cell.run_id, "failed", "WORKER_LOST")
    assert lost.attempts.count() == 3


def test_suspects_are_claimed_last_and_one_at_a_time(experiment):
    batch = planning.start_batch(experiment=experiment, author=None)
    first, second = batch.runs.order_by("position")[:2]
    batch.runs.filter(pk__in=[first.pk, second.pk]).update(crashes=2)
    taken = claiming.claim(batch, group_of(batch), 30, "test", suspect=True).cells
    assert [one.run_id for one in taken].index(first.pk) == len(taken) - 1 == 18
    assert claiming.claim(batch, group_of(batch), 30, "test", suspect=False).cells == []
    [last] = claiming.claim(batch, group_of(batch), 30, "test", suspect=True).cells
    assert last.run_id == second.pk


def test_no_cell_of_a_cancelled_batch_can_be_claimed(experiment, alice):
    batch, _ = claimed(experiment)
    steering.cancel(batch, actor=alice)
    assert claiming.claim(batch, group_of(batch), 5, "test").cells == []


def test_the_sweeper_ends_batches_and_hands_out_permits_that_were_lost(
    experiment, embedded_worker, monkeypatch
):
    from experiments.services import permits

    monkeypatch.setattr(permits, "GRACE_S", 0.3)
    publish = permits.publish
    monkeypatch.setattr(permits, "publish", lambda batch_id: True)  # the broker swallows the first
    batch = planning.start_batch(experiment=experiment, author=None)
    monkeypatch.setattr(permits, "publish", publish)
    assert planning.wait_until_finished(batch, timeout_s=60)
    assert Batch.objects.get(pk=batch.pk).state == "finished"


def test_a_model_that_was_removed_fails_its_cells(experiment, embedded_worker, monkeypatch):
    from experiments.services import permits

    monkeypatch.setattr(permits, "hand_out", lambda *_, **__: None)
    batch = planning.start_batch(experiment=experiment, author=None)
    batch.runs.first().model.delete()
    monkeypatch.undo()
    execution.drain(batch.pk)
    assert states(batch) == {"failed": 20}
    assert batch.runs.first().error_code == "MODEL_NOT_FOUND"


def test_results_that_the_database_never_takes_are_given_up_with_their_leases(
    experiment, settings, monkeypatch
):
    settings.CELL_LEASE = 0.3
    monkeypatch.setattr(recording, "AGAIN_S", 0.05)
    batch = planning.start_batch(experiment=experiment, author=None, parallel=4)

    def away(*_, **__):
        raise OperationalError("the database is away")

    monkeypatch.setattr(recording, "record", away)
    with Crew(batch) as crew:
        wait_for(lambda: crew.work() and crew.busy)
        monkeypatch.setattr(claiming, "claim", away)  # it comes for no more
        wait_for(lambda: crew.work() and not crew.busy)
    assert states(batch)["running"] >= 1

    def all_are_queued():
        sweeping.take_back_expired()
        return states(batch) == {"queued": 20}

    wait_for(all_are_queued)


def test_lanes_for_which_nothing_could_be_claimed_are_given_back(experiment, monkeypatch):
    def away(*_, **__):
        raise OperationalError("the database is away")

    monkeypatch.setattr(recording, "AGAIN_S", 0.05)
    batch = planning.start_batch(experiment=experiment, author=None, parallel=4)
    with Crew(batch) as crew, monkeypatch.context() as away_for_now:
        away_for_now.setattr(claiming, "claim", away)
        assert crew.work()
        assert routing.in_use(batch.pk) >= 1
    assert routing.in_use(batch.pk) == 0
    assert not slots.keeper.held


def test_an_answer_that_the_database_refuses_costs_its_own_cell_alone(experiment, monkeypatch):
    batch = planning.start_batch(experiment=experiment, author=None)
    cells = claiming.claim(batch, group_of(batch), 3, "test").cells
    record = recording.record

    def refusing(batch, panel, outcomes):
        if any(isinstance(o, recording.Answered) and o.completion.content == "bad" for o in outcomes):
            raise DataError("not in this database")
        record(batch, panel, outcomes)

    monkeypatch.setattr(recording, "record", refusing)
    answers = [answer(cell, content) for cell, content in zip(cells, ["one", "bad", "two"], strict=True)]
    recording.record_for_certain(batch, Panel(experiment), answers)
    outputs = dict(batch.runs.filter(state="succeeded").values_list("pk", "output"))
    assert outputs == {cells[0].run_id: "one", cells[2].run_id: "two"}
    [failed] = batch.runs.filter(state="failed")
    assert (failed.pk, failed.error_message) == (cells[1].run_id, "The answer could not be stored.")
