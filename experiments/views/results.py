"""The results of a batch as a page shows them: as a grid, as a list, or as charts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Count, Window
from django.http import QueryDict

from evalsuite.orgs.console import OrgPage
from experiments.models import Batch, EvalScore, ExperimentRun, ExperimentVariant
from experiments.models.runs import RunQuerySet
from experiments.services import figures, grid
from experiments.services.grid import Wish
from experiments.services.results import VariantResult
from experiments.views.summary import charts_of, results_in
from experiments.views.wishes import WishForm

INPUTS_PER_PAGE = 25
LONGEST_NUMBER = 9  # digits of a page's number
RUNS_PER_PAGE = 50
VIEWS = {"grid": "Grid", "list": "List", "charts": "Charts"}
NOT_FILTERS = {"batch", "view", "page", "cell", "sort"}  # what a query says besides
# Of a run's many columns, those that it is shown with.
OF_A_CELL = (
    *("variant", "input", "state", "error_message", "latency_ms", "thumbs_up"),
    *("cold_start", "may_be_cut", "cached_from", "cached_latency_ms"),
)
SIMPLE_FILTERS = [("state", "State"), ("thumb", "Thumb")]


@dataclass(frozen=True, slots=True)
class Look:
    """A batch and what is asked to be seen of it."""

    query: QueryDict
    batch: Batch
    view: str
    variants: list[ExperimentVariant]
    form: WishForm
    wish: Wish
    results: Sequence[VariantResult] | None = None


def look(given: QueryDict, batch: Batch, results: Sequence[VariantResult] | None = None) -> Look:
    """`results` are those of the batch, where they are at hand: they tell its variants and metrics."""
    query = given.copy()
    query.pop("cell", None)  # links lead to a cell of their own, or to none
    if results:
        variants = [result.variant for result in results]
        measures = figures.with_figures(one.metric for one in results[0].metrics)
    else:
        variants, measures = grid.variants_in(batch), grid.measures_of(batch)
    form = WishForm(query, measures=measures, variants=variants)
    view = query.get("view", "")
    shown = view if view in VIEWS else "grid"
    return Look(query, batch, shown, variants, form, form.wish(), results)


def results_view(
    page: OrgPage, batch: Batch, results: Sequence[VariantResult] | None = None
) -> dict[str, Any]:
    """The tabs, the filters, and what is below them."""
    seen = look(page.request.GET, batch, results)
    query = seen.query
    return {
        "views": VIEWS.items(),
        "wish_form": seen.form,
        "is_filtered": any(query.get(name) for name in query if name not in NOT_FILTERS),
        "clear_query": _without_filters(query),
        "simple_filters": SIMPLE_FILTERS,
        **contents(page, seen),
    }


def _without_filters(query: QueryDict) -> QueryDict:
    kept = query.copy()
    for name in query:
        if name not in NOT_FILTERS or name == "page":
            kept.pop(name)
    return kept


def contents(page: OrgPage, seen: Look) -> dict[str, Any]:
    """What is below the filters."""
    number = seen.query.get("page")
    shared = asked(seen)
    if seen.view == "list":
        cells = Paginator(list_cells(page, seen), RUNS_PER_PAGE).get_page(number)
        cells.object_list = in_list(cells, seen)
        return {**shared, "page": cells}
    if seen.view == "charts":
        results = results_in(seen.batch) if seen.results is None else seen.results
        return {**shared, "results": results, "charts": charts_of(results)}
    inputs = grid_page(seen, number)
    metrics = [one.metric for one in seen.results[0].metrics] if seen.results else []
    rows = grid.rows_of(seen.batch, list(inputs), seen.wish, seen.variants, user=page.user, metrics=metrics)
    return {
        **shared,
        "page": inputs,
        "rows": rows,
        "columns": models_by_variant(rows, seen.variants),
        "trace": "".join(cell.trace if cell else "-" * grid.TRACE for row in rows for cell in row.cells),
    }


def asked(seen: Look) -> dict[str, Any]:
    return {
        "view": seen.view,
        "wish": seen.wish,
        "variants_shown": seen.variants,
        "filters": seen.query,
        "cell_link": f"?{seen.query.urlencode()}&cell=" if seen.query else "?cell=",
    }


def list_cells(page: OrgPage, seen: Look) -> RunQuerySet:
    """As the flat list shows them, in the order of work."""
    cells = grid.fitting(seen.batch, seen.wish)
    if seen.wish.differ:
        cells = cells.filter(input__in=grid.inputs_in(seen.batch, seen.wish).order_by().values("pk"))
    return (
        cells.select_related("input")
        .with_tally(page.user)
        .only(*OF_A_CELL, "output", "input__key", "input__content")
        .order_by("position", "id")
    )


def in_list(cells: Iterable[ExperimentRun], seen: Look) -> list[ExperimentRun]:
    """These cells with their variants, and each with `named_scores`: its scores by the metrics' names."""
    runs = list(cells)
    variants = {variant.pk: variant for variant in seen.variants}
    named: dict[UUID, list[tuple[str, float]]] = defaultdict(list)
    scores = EvalScore.objects.filter(run__in=[run.pk for run in runs]).order_by("metric__key", "id")
    for run_id, name, value in scores.values_list("run", "metric__name", "value"):
        named[run_id].append((name, value))
    for run in runs:
        run.variant = variants[run.variant_id]
        run.named_scores = named[run.pk]  # type: ignore[attr-defined]
    return runs


def grid_page(seen: Look, number: str | None) -> Page[Any]:
    """A page of inputs, the last one for a number behind it. They are found and all are counted at once."""
    order = grid.sorted_inputs(seen.batch, seen.wish, seen.variants)
    counted = order.annotate(of=Window(Count("pk")))
    wanted = page_number(number)
    found = list(counted[(wanted - 1) * INPUTS_PER_PAGE : wanted * INPUTS_PER_PAGE])
    if not found and wanted > 1:  # the last one, from its end on: a remainder of none is a full page
        found = list(counted.reverse()[:INPUTS_PER_PAGE])[::-1]
        on_it = found[0].of % INPUTS_PER_PAGE if found else 0
        found = found[-on_it:]
    paginator = Paginator(order, INPUTS_PER_PAGE)
    paginator.count = found[0].of if found else 0
    return Page(found, min(wanted, paginator.num_pages), paginator)


def page_number(text: str | None) -> int:
    """1 for what is no page."""
    known = text is not None and text.isascii() and text.isdigit() and len(text) < LONGEST_NUMBER
    return max(1, int(text or 1)) if known else 1


def models_by_variant(
    rows: list[grid.Row], variants: list[ExperimentVariant]
) -> list[tuple[ExperimentVariant, str]]:
    """Each variant with the model that made the cells in view."""
    names: list[set[str]] = [set() for _ in variants]
    for row in rows:
        for place, cell in enumerate(row.cells):
            if cell:
                names[place].add(cell.run.model_name)
    return [(variant, ", ".join(sorted(found))) for variant, found in zip(variants, names, strict=True)]
