from __future__ import annotations

from django.urls import URLPattern, path

from experiments.api import (
    batches,
    comparison,
    evaluations,
    evaluators,
    experiments,
    exports,
    inputs,
    metrics,
    progress,
    results,
    runs,
    scores,
    variants,
)
from experiments.views import actions, cells, comparing, files, metric_pages, pages, review
from experiments.views import evaluators as evaluator_views

METRICS = "orgs/<str:org_id>/metrics"
EXPERIMENTS = "orgs/<str:org_id>/experiments"
RUN = f"{EXPERIMENTS}/runs/<str:run_id>"
BATCH = f"{EXPERIMENTS}/batches/<str:batch_id>"
ONE = f"{EXPERIMENTS}/<str:experiment_id>"

# `experiments/runs/...` and `experiments/batches/...` come first: an experiment's id would match their word.
api_urlpatterns: list[URLPattern] = [
    path(METRICS, metrics.MetricList.as_view(), name="metric-list"),
    path(f"{METRICS}/<str:metric_id>", metrics.MetricDetail.as_view(), name="metric-detail"),
    path("orgs/<str:org_id>/evaluator-kinds", evaluators.EvaluatorKinds.as_view(), name="evaluator-kinds"),
    path(EXPERIMENTS, experiments.ExperimentList.as_view(), name="experiment-list"),
    path(RUN, runs.RunDetail.as_view(), name="run-detail"),
    path(f"{RUN}/feedback", runs.Feedback.as_view(), name="run-feedback"),
    path(f"{RUN}/scores", scores.ScoreList.as_view(), name="score-list"),
    path(f"{RUN}/scores/<str:score_id>", scores.ScoreDetail.as_view(), name="score-detail"),
    path(BATCH, batches.BatchDetail.as_view(), name="batch-detail"),
    path(f"{BATCH}/cancel", batches.BatchCancel.as_view(), name="batch-cancel"),
    path(f"{BATCH}/evaluate", evaluations.EvaluateBatch.as_view(), name="batch-evaluate"),
    path(f"{BATCH}/events", progress.BatchEvents.as_view(), name="batch-events"),
    path(f"{BATCH}/pause", batches.BatchPause.as_view(), name="batch-pause"),
    path(f"{BATCH}/resume", batches.BatchResume.as_view(), name="batch-resume"),
    path(f"{BATCH}/progress", progress.BatchProgress.as_view(), name="batch-progress"),
    path(f"{BATCH}/retry", batches.BatchRetry.as_view(), name="batch-retry"),
    path(ONE, experiments.ExperimentDetail.as_view(), name="experiment-detail"),
    path(f"{ONE}/variants", variants.VariantList.as_view(), name="variant-list"),
    path(f"{ONE}/variants/<str:variant_id>", variants.VariantDetail.as_view(), name="variant-detail"),
    path(f"{ONE}/inputs", inputs.InputList.as_view(), name="input-list"),
    path(f"{ONE}/inputs/<str:input_id>", inputs.InputDetail.as_view(), name="input-detail"),
    path(f"{ONE}/run", batches.Run.as_view(), name="experiment-run"),
    path(f"{ONE}/run/plan", batches.RunPlan.as_view(), name="experiment-plan"),
    path(f"{ONE}/batches", batches.BatchList.as_view(), name="batch-list"),
    path(f"{ONE}/runs", runs.RunList.as_view(), name="run-list"),
    path(f"{ONE}/evaluate", evaluations.EvaluateExperiment.as_view(), name="experiment-evaluate"),
    path(f"{ONE}/evaluators", evaluators.EvaluatorList.as_view(), name="evaluator-list"),
    path(
        f"{ONE}/evaluators/<str:evaluator_id>", evaluators.EvaluatorDetail.as_view(), name="evaluator-detail"
    ),
    path(f"{ONE}/results", results.Results.as_view(), name="experiment-results"),
    path(f"{ONE}/comparison", comparison.ExperimentComparison.as_view(), name="experiment-comparison"),
    path(f"{ONE}/export/<str:table>/<str:kind>", exports.Export.as_view(), name="experiment-export"),
]
console_urlpatterns: list[URLPattern] = [
    path(METRICS, metric_pages.MetricsPage.as_view(), name="metrics"),
    path(f"{METRICS}/<str:metric_id>", metric_pages.MetricPage.as_view(), name="metric"),
    path(f"{METRICS}/<str:metric_id>/delete", metric_pages.DeleteMetric.as_view(), name="metric-delete"),
    path(EXPERIMENTS, pages.ExperimentsPage.as_view(), name="experiments"),
    path(f"{EXPERIMENTS}/new", actions.CreateExperiment.as_view(), name="experiment-create"),
    path(f"{EXPERIMENTS}/batches/<str:batch_id>", pages.BatchUpdate.as_view(), name="batch-partial"),
    path(f"{EXPERIMENTS}/batches/<str:batch_id>/cancel", actions.SteerBatch.as_view(), name="batch-cancel"),
    path(f"{EXPERIMENTS}/batches/<str:batch_id>/pause", actions.PauseBatch.as_view(), name="batch-pause"),
    path(f"{EXPERIMENTS}/batches/<str:batch_id>/resume", actions.ResumeBatch.as_view(), name="batch-resume"),
    path(f"{EXPERIMENTS}/batches/<str:batch_id>/retry", actions.RetryFailed.as_view(), name="batch-retry"),
    path(f"{EXPERIMENTS}/runs/<str:run_id>", cells.RunPage.as_view(), name="run"),
    path(f"{EXPERIMENTS}/runs/<str:run_id>/diff", cells.DiffPage.as_view(), name="run-diff"),
    path(f"{EXPERIMENTS}/runs/<str:run_id>/rate", cells.RateRun.as_view(), name="run-rate"),
    path(f"{EXPERIMENTS}/runs/<str:run_id>/note", cells.NoteRun.as_view(), name="run-note"),
    path(f"{EXPERIMENTS}/runs/<str:run_id>/score", cells.ScoreRun.as_view(), name="run-score"),
    path(
        f"{EXPERIMENTS}/runs/<str:run_id>/scores/<str:score_id>/remove",
        cells.RemoveScore.as_view(),
        name="run-score-remove",
    ),
    path(f"{EXPERIMENTS}/<str:experiment_id>", pages.ExperimentPage.as_view(), name="experiment"),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/comparison",
        comparing.ComparisonPage.as_view(),
        name="comparison",
    ),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/baseline",
        actions.SetBaseline.as_view(),
        name="experiment-baseline",
    ),
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
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/evaluators",
        evaluator_views.Evaluators.as_view(),
        name="experiment-evaluators",
    ),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/evaluators/new",
        evaluator_views.NewEvaluator.as_view(),
        name="experiment-evaluator-new",
    ),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/evaluators/<str:evaluator_id>",
        evaluator_views.EditEvaluator.as_view(),
        name="experiment-evaluator",
    ),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/evaluators/<str:evaluator_id>/switch",
        evaluator_views.SwitchEvaluator.as_view(),
        name="experiment-evaluator-switch",
    ),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/evaluators/<str:evaluator_id>/delete",
        evaluator_views.DeleteEvaluator.as_view(),
        name="experiment-evaluator-delete",
    ),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/evaluate",
        evaluator_views.EvaluateAgain.as_view(),
        name="experiment-evaluate",
    ),
    path(f"{EXPERIMENTS}/<str:experiment_id>/import", files.ImportInputs.as_view(), name="experiment-import"),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/export/<str:table>/<str:kind>",
        files.Export.as_view(),
        name="experiment-export",
    ),
    path(f"{EXPERIMENTS}/<str:experiment_id>/review", review.ReviewPage.as_view(), name="review"),
    path(
        f"{EXPERIMENTS}/<str:experiment_id>/review/<str:run_id>",
        review.RateInReview.as_view(),
        name="review-cell",
    ),
    path(f"{EXPERIMENTS}/<str:experiment_id>/run", actions.StartRun.as_view(), name="experiment-run"),
    path(f"{EXPERIMENTS}/<str:experiment_id>/plan", actions.PlanRun.as_view(), name="experiment-plan"),
]
