from __future__ import annotations

from django.utils import timezone

from evalsuite.audit.models import AuditEvent
from experiments.models import Batch, Experiment, ExperimentRun
from llm_routing.models import Provider, RegisteredModel
from tests import factories
from tests.admin.helpers import (
    act,
    messages_of,
    url,
)


def test_run_queues_a_batch_and_a_refusal_is_a_message(root, org, experiment):
    experiment.variants.update(config={"modelProvider": "none", "modelName": "none"})
    answer = act(root, Experiment, "run", experiment)
    assert "has no model none" in messages_of(answer)[0]
    experiment.variants.update(config={})
    answer = act(root, Experiment, "run", experiment)
    assert "4 cells queued." in messages_of(answer)[0]


def test_a_batch_is_cancelled_once(root, experiment):
    batch = Batch.objects.create(experiment=experiment, total=1)
    assert messages_of(act(root, Batch, "cancel", batch)) == [f"{batch}: cancelled."]
    batch.refresh_from_db()
    assert batch.state == Batch.State.CANCELLED
    assert "ended already" in messages_of(act(root, Batch, "cancel", batch))[0]


def test_failed_cells_are_queued_again(root, experiment):
    cell = factories.make_run(experiment, state="failed")
    assert "1 cell queued again." in messages_of(act(root, Batch, "retry_failed", cell.batch))[0]
    cell.refresh_from_db()
    assert cell.state == ExperimentRun.State.QUEUED
    assert "No cell of this batch has failed." in messages_of(act(root, Batch, "retry_failed", cell.batch))[0]


def test_synchronise_tells_what_happened_or_why_not(root, experiment, ollama_that_lists, settings):
    settings.PRIVATE_PROVIDER_NETWORKS = ["127.0.0.0/8"]
    provider = Provider.objects.get()
    answer = act(root, Provider, "synchronise", provider)  # nothing listens there
    assert answer.status_code == 200
    assert len(messages_of(answer)) == 1
    assert RegisteredModel.objects.get().available
    provider.endpoints.update(base_url=ollama_that_lists.url)
    RegisteredModel.objects.update(name="old:1b")
    told = messages_of(act(root, Provider, "synchronise", provider))[0]
    assert "1 models added, 0 updated, 1 gone." in told
    assert AuditEvent.objects.filter(event="provider.synced").exists()


def test_deleting_tells_the_audit_log(root, org):
    metric = factories.make_metric(org)
    assert root.post(url(type(metric), "delete", metric.pk), {"post": "yes"}).status_code == 302
    event = AuditEvent.objects.get(event="admin.evalmetricdefinition.deleted")
    assert (event.org, event.object_id) == (org, str(metric.pk))


def test_a_copy_has_everything_but_the_results(root, experiment):
    assert "(copy) was made." in messages_of(act(root, Experiment, "duplicate", experiment))[0]
    copy = Experiment.objects.get(name=f"{experiment.name} (copy)")
    assert (copy.inputs.count(), copy.variants.count(), copy.evaluators.count()) == (2, 2, 1)
    assert copy.runs.count() == 0
    assert copy.org == experiment.org


def test_an_experiment_goes_with_its_results_but_not_while_it_runs(root, experiment):
    batch = Batch.objects.create(experiment=experiment, total=1)
    page = url(Experiment, "delete", experiment.pk)
    text = root.get(page).content.decode()
    assert "2 inputs, 2 variants, 1 runs" in text
    answer = root.post(page, {"post": "yes"}, follow=True)
    assert "under way" in messages_of(answer)[0]
    answer = root.post(
        url(Experiment, "changelist"),
        {"action": "delete_selected", "_selected_action": [str(experiment.pk)], "post": "yes"},
        follow=True,
    )
    assert "under way" in messages_of(answer)[0]
    assert Experiment.objects.filter(pk=experiment.pk).exists()
    batch.delete()
    Batch.objects.update(finished_at=timezone.now())
    assert root.post(page, {"post": "yes"}).status_code == 302
    assert not Experiment.objects.exists()
    assert AuditEvent.objects.get(event="experiment.deleted").actor_name == "root"


def test_what_results_need_is_not_deleted(root, experiment):
    row = experiment.runs.get().input
    assert root.post(url(type(row), "delete", row.pk), {"post": "yes"}).status_code == 200
    assert experiment.inputs.filter(pk=row.pk).exists()
