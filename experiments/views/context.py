"""What the parts of the experiments page show."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Prefetch, Q, prefetch_related_objects
from django.http import QueryDict

from evalsuite.errors import NotFound
from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from evalsuite.prepared import Prepared
from experiments.models import Batch, Experiment, ExperimentRun, ExperimentVariant
from experiments.services import progress
from experiments.services.grid import TRACE, Cell, Row
from experiments.views import in_words
from experiments.views.evaluator_cards import evaluators_card
from experiments.views.results import (
    RUNS_PER_PAGE,
    asked,
    contents,
    in_list,
    list_cells,
    look,
    results_view,
)
from experiments.views.summary import results_in

LISTED = 50  # experiments in the list on the left; a link leads to older ones
RECENT_BATCHES = 20
SHOWN_INPUTS = 50
EXPORT_TABLES = [("inputs", "Inputs"), ("runs", "Runs with their scores"), ("scores", "Scores, one by one")]
EXPORT_KINDS = [("csv", "CSV"), ("jsonl", "JSON Lines"), ("xlsx", "XLSX")]
TEMPLATE_HINT = (
    "{{ input }} is where the input goes, {{ metadata.NAME }} a value of its metadata. "
    "Without a template the input is the whole prompt."
)


def detail(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """Everything right of the list. What several parts of it need is asked for once."""
    return {
        **inputs_card(page, experiment),
        **evaluators_card(page, experiment),
        **runs_section(page, experiment),
        "template_hint": TEMPLATE_HINT,
    }


EXPERIMENT = Prepared(
    lambda org, pk: Experiment.objects.for_org(org).filter(pk=pk).as_it_stands(), UUID, UUID
)


def as_it_stands(page: OrgPage, experiment_id: str | UUID) -> Experiment:
    """An experiment as the parts of the page need it. Raises NotFound."""
    known = parse_id(str(experiment_id))
    experiment = EXPERIMENT.first(page.org.pk, known) if known else None
    if experiment is None:
        raise NotFound("experiment")
    variants = ExperimentVariant.objects.select_related("chat_profile")
    prefetch_related_objects([experiment], Prefetch("variants", variants))
    experiment.org = page.org
    return experiment


def base(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """What every part of the page needs; with nothing more, the card of the variants."""
    found: Any = experiment
    return {
        "org": page.org,
        "experiment": experiment,
        "variants": experiment.variants.all(),
        "can_write": "org:experiments:write" in page.permissions,
        "can_rate": "org:experiments:rate" in page.permissions,
        "can_run": not found.under_way and found.input_count and experiment.variants.all(),
    }


def inputs_shown(experiment: Experiment) -> dict[str, Any]:
    """As many as can be looked at, and whether there are more."""
    found = list(experiment.inputs.order_by("id")[: SHOWN_INPUTS + 1])
    return {
        "inputs": found[:SHOWN_INPUTS],
        "has_more": len(found) > SHOWN_INPUTS,
    }


def inputs_card(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    return {**base(page, experiment), "export_tables": EXPORT_TABLES, "export_kinds": EXPORT_KINDS}


def runs_section(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """A batch (the newest, unless the query names another): how it stands, its summary, its results."""
    wanted = page.request.GET.get("batch", "")
    named = parse_id(wanted)
    batches = list(experiment.batches.to_look_at().newest_and(RECENT_BATCHES, [named]))
    context = {**base(page, experiment), "batches": batches}
    if not batches and not wanted:
        return context
    batch = next((one for one in batches if not wanted or one.pk == named), None)
    if batch is None:
        raise NotFound("batch")
    standing = _progress(experiment, batch)
    return {**context, **standing, **results_view(page, batch, standing["results"])}


def runs_update(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """The runs for a page that is there; its evaluators' card looks out for the scores of a new one."""
    return {**runs_section(page, experiment), **evaluators_card(page, experiment)}


def results_alone(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """The tabs and what is below them, for a page that shows all else already."""
    wanted = page.request.GET.get("batch", "")
    batch = experiment.batches.find(wanted) if wanted else experiment.batches.first()
    if batch is None:
        raise NotFound("batch")
    batch.experiment = experiment
    return {**base(page, experiment), "batch": batch, **results_view(page, batch)}


def batch_update(page: OrgPage, batch_id: str) -> dict[str, Any]:
    """How a batch stands, and those cells that the page says it shows otherwise.

    A view that filters narrow down comes as a whole: what has changed may have left or joined it.
    """
    shown = page.request.POST if page.request.method == "POST" else page.request.GET
    batch = Batch.objects.for_org(page.org).to_look_at().find(batch_id)
    experiment = as_it_stands(page, batch.experiment_id)
    standing = _progress(experiment, batch)
    seen = look(QueryDict(shown.get("query", "")), batch, standing["results"])
    context = {**base(page, experiment), **standing, **asked(seen)}
    if seen.view == "list" and seen.wish.is_plain:
        changed = list_cells(page, seen).filter(_otherwise(shown, scored="scored" in shown))
        return {**context, "changed": in_list(changed, seen)}
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
    """Those whose letters in the page's trace are others now."""
    places = [cell for row in rows for cell in row.cells]
    letters = [known[at : at + TRACE] for at in range(0, len(known), TRACE)]
    return [cell for cell, before in zip(places, letters, strict=True) if cell and cell.trace != before]


def _progress(experiment: Experiment, batch: Batch) -> dict[str, Any]:
    batch.experiment = experiment
    results = results_in(batch)
    counts = {state: sum(one.cells[state] for one in results) for state in ExperimentRun.State.values}
    context = {
        "batch": batch,
        "counts": counts,
        "closed": sum(counts[state] for state in ExperimentRun.CLOSED),
        "results": results,
    }
    if batch.finished_at:
        return context
    look = progress.look_at(batch)
    speed = in_words.speed(look.throughput) if batch.state == Batch.State.RUNNING else ""
    return {**context, "speed": speed, "time_left": in_words.time_left(look.eta_s)}
