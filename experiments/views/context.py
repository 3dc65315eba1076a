"""What the parts of the experiments page show."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator

from evalsuite.orgs.console import OrgPage
from experiments.models import Batch, Experiment, ExperimentRun
from experiments.services.results import VariantResult, results_of
from llm_routing.models import ChatProfile, RegisteredModel

LISTED = 200  # experiments in the list on the left
SHOWN_INPUTS = 50
RUNS_PER_PAGE = 50
RECENT_BATCHES = 20
TEMPLATE_HINT = (
    "{{ input }} is where the input goes, {{ metadata.NAME }} a value of its metadata. "
    "Without a template the input is the whole prompt."
)


def detail(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """Everything right of the list."""
    return {
        **variants_card(page, experiment),
        **inputs_card(page, experiment),
        **runs_section(page, experiment),
        "template_hint": TEMPLATE_HINT,
        "profiles": ChatProfile.objects.for_org(page.org),
        "models": RegisteredModel.objects.usable_by(page.org).select_related("provider"),
    }


def variants_card(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    return {**_base(page, experiment), "variants": experiment.variants.select_related("chat_profile")}


def inputs_card(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    return {
        **_base(page, experiment),
        "inputs": experiment.inputs.order_by("id")[:SHOWN_INPUTS],
        "input_count": experiment.inputs.count(),
        "shown_inputs": SHOWN_INPUTS,
    }


def _base(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    return {
        "org": page.org,
        "experiment": experiment,
        "can_write": "org:experiments:write" in page.permissions,
        "can_rate": "org:experiments:rate" in page.permissions,
        **run_bar(experiment),
    }


def run_bar(experiment: Experiment) -> dict[str, Any]:
    """Whether Run can be pressed, and how far the batch under way has come."""
    running = experiment.batches.filter(finished_at=None).with_progress().first()
    return {
        "can_run": running is None and experiment.inputs.exists() and experiment.variants.exists(),
        "running": running,
        "closed": running and closed_cells(running),
    }


def closed_cells(batch: Any) -> int:
    """Of a batch from `with_progress`."""
    return int(batch.succeeded + batch.failed + batch.cancelled)


def runs_section(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """One page of cells of one batch (the newest, unless the query names another) and its summary."""
    batches = list(experiment.batches.with_progress()[:RECENT_BATCHES])
    wanted = page.request.GET.get("batch", "")
    batch = experiment.batches.with_progress().find(wanted) if wanted else next(iter(batches), None)
    filters = _filters(page)
    runs = experiment.runs.filter(batch=batch, **filters) if batch else ExperimentRun.objects.none()
    cells = (
        runs.select_related("variant", "input")
        .prefetch_related("scores__metric")
        .defer("messages", "thinking", "parameters", "snapshot")
        .order_by("position", "id")
    )
    return {
        **_base(page, experiment),
        "batches": batches,
        "batch": batch,
        "batch_closed": batch and closed_cells(batch),
        "results": _results(experiment, batch) if batch else [],
        "page": Paginator(cells, RUNS_PER_PAGE).get_page(page.request.GET.get("page")),
        "filters": page.request.GET,
        "states": ExperimentRun.State.choices,
    }


def _filters(page: OrgPage) -> dict[str, Any]:
    query = page.request.GET
    filters: dict[str, Any] = {}
    if query.get("state") in ExperimentRun.State.values:
        filters["state"] = query["state"]
    if query.get("thumb") in ("up", "down"):
        filters["thumbs_up"] = query["thumb"] == "up"
    return filters


def _results(experiment: Experiment, batch: Batch) -> list[VariantResult]:
    """Of the variants that are in the batch."""
    return [result for result in results_of(experiment, batch=batch) if result.cells["total"]]
