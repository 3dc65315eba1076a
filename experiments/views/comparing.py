"""Two variants or two batches side by side, with the verdict, and what got better and worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from evalsuite.errors import EvalsuiteError
from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from experiments import charts
from experiments.models import Batch, Experiment, ExperimentVariant
from experiments.services import comparison, figures, grid, wording
from experiments.services.comparison import Side
from experiments.services.figures import Measure
from experiments.views.cases import GROUPS, cases_of, grouped

OFFERED_BATCHES = 50
PAIRS_PER_PAGE = 10
ALL_BATCHES = "all"


class ComparisonPage(OrgPage):
    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = Experiment.objects.for_org(self.org).find(experiment_id)
        return render(request, "experiments/comparison.html", comparison_context(self, experiment))


class CompareForm(forms.Form):
    """What is compared, as the query string has it. A bad value is named and left out."""

    margin = forms.FloatField(required=False, min_value=0)

    def __init__(
        self,
        query: QueryDict,
        *,
        variants: Sequence[ExperimentVariant],
        batches: Sequence[Batch],
        measures: Sequence[Measure],
    ) -> None:
        super().__init__(query)
        self.variants = {str(variant.pk): variant for variant in variants}
        self.batches = {str(batch.pk): batch for batch in batches}
        self.measures = {measure.key: measure for measure in measures}
        of_variant = [(key, variant.name) for key, variant in self.variants.items()]
        of_batch = [(key, str(batch)) for key, batch in self.batches.items()]
        choices: dict[str, list[tuple[str, str]]] = {
            "baseline": of_variant,
            "candidate": of_variant,
            "batch": of_batch,
            "baselineBatch": [(ALL_BATCHES, ""), *of_batch],
            "candidateBatch": [(ALL_BATCHES, ""), *of_batch],
            "metric": [(key, measure.name) for key, measure in self.measures.items()],
            "show": list(GROUPS.items()),
        }
        for name, offered in choices.items():
            self.fields[name] = forms.ChoiceField(choices=offered, required=False)

    @property
    def problems(self) -> list[str]:
        return [f"{name}: {' '.join(map(str, why))}" for name, why in self.errors.items()]

    def value(self, name: str) -> Any:
        """None where it is not given, or bad."""
        self.full_clean()
        return self.cleaned_data.get(name) or None


def comparison_context(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    experiment.org = page.org
    variants = list(experiment.variants.order_by("id"))
    batches = _offered_batches(experiment, page.request.GET)
    measures = comparable(experiment, batches)
    form = CompareForm(page.request.GET, variants=variants, batches=batches, measures=measures)
    context = {
        "org": page.org,
        "experiment": experiment,
        "variants": variants,
        "batches": batches,
        "measures": measures,
        "form": form,
        "problems": form.problems,
        "groups": GROUPS.items(),
    }
    sides = _sides(form, experiment, variants, batches)
    if sides is None:
        return context
    baseline, candidate = sides
    measure = form.measures.get(form.value("metric") or "", measures[0])
    chosen = {
        "baseline": baseline,
        "candidate": candidate,
        "baseline_label": _label(baseline, candidate),
        "candidate_label": _label(candidate, baseline),
        "measure": measure,
        "margin": form.value("margin") or 0.0,
    }
    try:
        return {**context, **chosen, **_compared(page, experiment, form, sides, measure)}
    except EvalsuiteError as problem:
        return {**context, **chosen, "problems": [*form.problems, problem.message]}


def _label(side: Side, other: Side) -> str:
    """By what the two differ in."""
    if side.variant != other.variant:
        return side.variant.name
    return str(side.batch or "all batches").capitalize()


def comparable(experiment: Experiment, batches: Sequence[Batch]) -> list[Measure]:
    """The metrics of the newest batch, and the figures of every run."""
    if not batches:
        return list(figures.OF_EVERY_CELL.values())
    newest = batches[0]
    newest.experiment = experiment
    return grid.measures_of(newest)


def _offered_batches(experiment: Experiment, query: QueryDict) -> list[Batch]:
    """The newest ones, and those that are named."""
    named = [parse_id(query.get(name, "")) for name in ("batch", "baselineBatch", "candidateBatch")]
    return list(experiment.batches.newest_and(OFFERED_BATCHES, named))


def _sides(
    form: CompareForm,
    experiment: Experiment,
    variants: Sequence[ExperimentVariant],
    batches: Sequence[Batch],
) -> tuple[Side, Side] | None:
    """Without wishes: the second variant against the first in the newest batch.

    Where there is but one variant, its newest batch against the baseline or the batch before.
    """
    if not variants or not batches:
        return None
    both = form.batches.get(form.value("batch") or "", batches[0])
    before = _batch(form, "baselineBatch", both)
    after = _batch(form, "candidateBatch", both)
    first = form.variants.get(form.value("baseline") or "", variants[0])
    if given := form.value("candidate"):
        second = form.variants[given]
    elif before != after:
        second = first
    else:
        second = next((one for one in variants if one != first), first)
    if first == second and before == after and not form.value("baselineBatch"):
        others = [one for one in batches if one != after]
        earlier = next((one for one in others if one.pk == experiment.baseline_id), None)
        before = earlier or next(iter(others), before)
    return Side(first, before), Side(second, after)


def _batch(form: CompareForm, name: str, default: Batch) -> Batch | None:
    wanted = form.value(name)
    return None if wanted == ALL_BATCHES else form.batches.get(wanted or "", default)


def _compared(
    page: OrgPage, experiment: Experiment, form: CompareForm, sides: tuple[Side, Side], measure: Measure
) -> dict[str, Any]:
    baseline, candidate = sides
    margin = form.value("margin") or 0.0
    seen = comparison.overview(
        experiment, baseline=baseline, candidate=candidate, measure=measure, margin=margin
    )
    found = seen.chosen
    groups = grouped(seen.pairs, margin=margin, direction=measure.direction)
    shown = form.value("show") or next((key for key in GROUPS if groups[key]), "worse")
    cases = Paginator(groups[shown], PAIRS_PER_PAGE).get_page(page.request.GET.get("page"))
    return {
        "found": found,
        "verdict": wording.verdict(found),
        "over_all": seen.every,
        "adjusted": next((one for one in seen.every if one.metric_key == measure.key), None),
        "line": charts.interval_line(found.difference, found.low, found.high, found.margin),
        "group_counts": [(key, label, len(groups[key])) for key, label in GROUPS.items()],
        "shown_group": shown,
        "page": cases,
        "cases": cases_of(experiment, cases, baseline, candidate),
        "filters": page.request.GET,
    }
