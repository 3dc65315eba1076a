"""What the parts of the experiments page show."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, Q
from django.http import QueryDict

from evalsuite.errors import NotFound
from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from experiments.models import Batch, Experiment, ExperimentRun, Thumb
from experiments.services import progress
from experiments.services.grid import Cell, Row
from experiments.views import in_words
from experiments.views.evaluator_cards import evaluators_card
from experiments.views.results import (
    RUNS_PER_PAGE,
    asked,
    contents,
    list_cells,
    look,
    results_view,
)
from experiments.views.summary import results_in
from llm_routing.models import ChatProfile, RegisteredModel

LISTED = 50  # experiments in the list on the left; a link leads to older ones
SHOWN_INPUTS = 50
RECENT_BATCHES = 20
EXPORT_TABLES = [("inputs", "Inputs"), ("runs", "Runs with their scores"), ("scores", "Scores, one by one")]
EXPORT_KINDS = [("csv", "CSV"), ("jsonl", "JSON Lines"), ("xlsx", "XLSX")]
Base = dict[str, Any]  # what every part of the page needs
TEMPLATE_HINT = (
    "{{ input }} is where the input goes, {{ metadata.NAME }} a value of its metadata. "
    "Without a template the input is the whole prompt."
)


def detail(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """Everything right of the list. What several parts of it need is asked for once."""
    experiment.org = page.org
    base = _base(page, experiment)
    return {
        **variants_card(page, experiment, base),
        **inputs_card(page, experiment, base),
        **evaluators_card(page, experiment),
        **runs_section(page, experiment, base),
        "template_hint": TEMPLATE_HINT,
        "profiles": ChatProfile.objects.for_org(page.org),
        "models": RegisteredModel.objects.usable_by(page.org).select_related("provider"),
    }


def variants_card(page: OrgPage, experiment: Experiment, base: Base | None = None) -> dict[str, Any]:
    variants = experiment.variants.select_related("chat_profile").order_by("id")
    return {**(base or _base(page, experiment)), "variants": variants}


def inputs_card(page: OrgPage, experiment: Experiment, base: Base | None = None) -> dict[str, Any]:
    return {
        **(base or _base(page, experiment)),
        "inputs": experiment.inputs.order_by("id")[:SHOWN_INPUTS],
        "input_count": experiment.inputs.count(),
        "shown_inputs": SHOWN_INPUTS,
        "export_tables": EXPORT_TABLES,
        "export_kinds": EXPORT_KINDS,
    }


def _base(page: OrgPage, experiment: Experiment) -> Base:
    return {
        "org": page.org,
        "experiment": experiment,
        "can_write": "org:experiments:write" in page.permissions,
        "can_rate": "org:experiments:rate" in page.permissions,
        **run_bar(experiment),
    }


def run_bar(experiment: Experiment) -> dict[str, Any]:
    """Whether Run can be pressed, and the batch under way."""
    running = experiment.batches.filter(finished_at=None).first()
    return {"can_run": running is None and _is_complete(experiment), "running": running}


def _is_complete(experiment: Experiment) -> bool:
    """There is something to run: inputs and variants. One query."""
    inputs, variants = experiment.inputs.order_by(), experiment.variants.order_by()
    this = Experiment.objects.filter(Exists(inputs), Exists(variants), pk=experiment.pk)
    return this.exists()


def runs_section(page: OrgPage, experiment: Experiment, base: Base | None = None) -> dict[str, Any]:
    """A batch (the newest, unless the query names another): how it stands, its summary, its results."""
    experiment.org = page.org
    batches = list(experiment.batches.select_related("author")[:RECENT_BATCHES])
    wanted = page.request.GET.get("batch", "")
    batch = next((one for one in batches if str(one.pk) == wanted), None) if wanted else None
    if batch is None:
        batch = chosen_batch(page, experiment) if wanted else next(iter(batches), None)
    context = {**(base or _base(page, experiment)), "batches": batches}
    if batch is None:
        return context
    if batch not in batches:
        context["batches"] = [*batches, batch]
    return {**context, **_with_results(page, experiment, batch)}


def _with_results(page: OrgPage, experiment: Experiment, batch: Batch) -> dict[str, Any]:
    """How the batch stands, its summary, and its results as they are asked for."""
    batch.experiment = experiment
    standing = _progress(experiment, batch)
    return {**standing, **results_view(page, batch, standing["results"])}


def runs_update(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """The runs for a page that is there; its evaluators' card looks out for the scores of a new one."""
    return {**runs_section(page, experiment), **evaluators_card(page, experiment)}


def chosen_batch(page: OrgPage, experiment: Experiment) -> Batch | None:
    """The one that the query names, else the newest. Raises NotFound for one of another experiment."""
    wanted = page.request.GET.get("batch", "")
    batches = experiment.batches.select_related("experiment__org")
    return batches.find(wanted) if wanted else batches.first()


def results_alone(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """The tabs and what is below them, for a page that shows all else already."""
    batch = chosen_batch(page, experiment)
    if batch is None:
        raise NotFound("batch")
    return {**_base(page, experiment), "batch": batch, **results_view(page, batch)}


def batch_update(page: OrgPage, batch: Batch) -> dict[str, Any]:
    """How a batch stands, and those cells that the page says it shows otherwise.

    A view that filters narrow down comes as a whole: what has changed may have left or joined it.
    """
    shown = page.request.POST if page.request.method == "POST" else page.request.GET
    batch.experiment.org = page.org
    standing = _progress(batch.experiment, batch)
    seen = look(QueryDict(shown.get("query", "")), batch, standing["results"])
    context = {**_base(page, batch.experiment), **standing, **asked(seen)}
    if seen.view == "list" and seen.wish.is_plain:
        changed = list(list_cells(seen).filter(_otherwise(shown, scored="scored" in shown)))
        Thumb.objects.attach(changed, page.user)
        return {**context, "changed": changed}
    below = {**context, **contents(page, seen)}
    if seen.view != "grid":
        return {**below, "whole": True}
    known = shown.get("seen", "")
    if known == below["trace"]:
        return context
    if not seen.wish.is_plain or len(known) != len(below["trace"]):
        return {**below, "whole": True}
    return {**below, "changed_places": _changed(below["rows"], known)}


def _otherwise(shown: QueryDict, *, scored: bool) -> Q:
    """Cells whose state is not the one that the page shows; where scores have come, all that it shows."""
    changed = Q(pk__in=[])
    for state in ExperimentRun.State.values:
        ids = [parse_id(text) for text in shown.getlist(state)[:RUNS_PER_PAGE]]
        here = Q(pk__in=list(filter(None, ids)))
        changed |= here if scored else here & ~Q(state=state)
    return changed


def _changed(rows: list[Row], known: str) -> list[Cell]:
    """Those whose two letters in the page's trace are others now."""
    places = [cell for row in rows for cell in row.cells]
    letters = [known[at : at + 2] for at in range(0, len(known), 2)]
    return [cell for cell, before in zip(places, letters, strict=True) if cell and cell.trace != before]


def _progress(experiment: Experiment, batch: Batch) -> dict[str, Any]:
    look = progress.look(batch.pk)
    if look is None:  # deleted this moment
        raise NotFound("batch")
    look.batch.experiment = experiment
    counts = {state: getattr(look.batch, state) for state in ExperimentRun.State.values}
    return {
        "batch": look.batch,
        "look": look,
        "counts": counts,
        "closed": sum(counts[state] for state in ExperimentRun.CLOSED),
        "speed": in_words.speed(look.throughput) if look.batch.state == Batch.State.RUNNING else "",
        "time_left": in_words.time_left(look.eta_s),
        "results": results_in(look.batch),
    }
