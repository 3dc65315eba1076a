from __future__ import annotations

from django.urls import URLPattern, path

from experiments.api import (
    batches,
    evaluators,
    experiments,
    inputs,
    metrics,
    progress,
    results,
    runs,
    scores,
    variants,
)
from experiments.views import actions, pages

METRICS = "orgs/<str:org_id>/metrics"
EXPERIMENTS = "orgs/<str:org_id>/experiments"
RUN = f"{EXPERIMENTS}/runs/<str:run_id>"
BATCH = f"{EXPERIMENTS}/batches/<str:batch_id>"
ONE = f"{EXPERIMENTS}/<str:experiment_id>"

# `experiments/runs/...` and `experiments/batches/...` come first: an experiment's id would match their word.
api_urlpatterns: list[URLPattern] = [
    path(METRICS, metrics.MetricList.as_view(), name="metric-list"),
    path(f"{METRICS}/<str:metric_id>", metrics.MetricDetail.as_view(), name="metric-detail"),
    path(EXPERIMENTS, experiments.ExperimentList.as_view(), name="experiment-list"),
    path(RUN, runs.RunDetail.as_view(), name="run-detail"),
    path(f"{RUN}/feedback", runs.Feedback.as_view(), name="run-feedback"),
    path(f"{RUN}/scores", scores.ScoreList.as_view(), name="score-list"),
    path(f"{RUN}/scores/<str:score_id>", scores.ScoreDetail.as_view(), name="score-detail"),
    path(BATCH, batches.BatchDetail.as_view(), name="batch-detail"),
    path(f"{BATCH}/cancel", batches.BatchCancel.as_view(), name="batch-cancel"),
    path(f"{BATCH}/events", progress.BatchEvents.as_view(), name="batch-events"),
    path(f"{BATCH}/retry", batches.BatchRetry.as_view(), name="batch-retry"),
    path(ONE, experiments.ExperimentDetail.as_view(), name="experiment-detail"),
    path(f"{ONE}/variants", variants.VariantList.as_view(), name="variant-list"),
    path(f"{ONE}/variants/<str:variant_id>", variants.VariantDetail.as_view(), name="variant-detail"),
    path(f"{ONE}/inputs", inputs.InputList.as_view(), name="input-list"),
    path(f"{ONE}/inputs/<str:input_id>", inputs.InputDetail.as_view(), name="input-detail"),
    path(f"{ONE}/run", batches.Run.as_view(), name="experiment-run"),
    path(f"{ONE}/batches", batches.BatchList.as_view(), name="batch-list"),
    path(f"{ONE}/runs", runs.RunList.as_view(), name="run-list"),
    path(f"{ONE}/evaluators", evaluators.EvaluatorList.as_view(), name="evaluator-list"),
    path(
        f"{ONE}/evaluators/<str:evaluator_id>", evaluators.EvaluatorDetail.as_view(), name="evaluator-detail"
    ),
    path(f"{ONE}/results", results.Results.as_view(), name="experiment-results"),
]
console_urlpatterns: list[URLPattern] = [
    path(EXPERIMENTS, pages.ExperimentsPage.as_view(), name="experiments"),
    path(f"{EXPERIMENTS}/new", actions.CreateExperiment.as_view(), name="experiment-create"),
    path(f"{EXPERIMENTS}/batches/<str:batch_id>/cancel", actions.SteerBatch.as_view(), name="batch-cancel"),
    path(f"{EXPERIMENTS}/batches/<str:batch_id>/retry", actions.RetryFailed.as_view(), name="batch-retry"),
    path(f"{EXPERIMENTS}/runs/<str:run_id>", pages.RunPage.as_view(), name="run"),
    path(f"{EXPERIMENTS}/runs/<str:run_id>/rate", actions.RateRun.as_view(), name="run-rate"),
    path(f"{EXPERIMENTS}/<str:experiment_id>", pages.ExperimentPage.as_view(), name="experiment"),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/delete",
        actions.DeleteExperiment.as_view(),
        name="experiment-delete",
    ),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/variants",
        actions.AddVariant.as_view(),
        name="experiment-variants",
    ),
    path(f"{EXPERIMENTS}/<str:experiment_id>/inputs", actions.AddInputs.as_view(), name="experiment-inputs"),
    path(f"{EXPERIMENTS}/<str:experiment_id>/run", actions.StartRun.as_view(), name="experiment-run"),
]
