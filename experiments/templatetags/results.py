"""Small helps of the pages of results: how figures are written, and what a verdict looks like."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django import forms, template
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from evalsuite.orgs.models import Org
from evalsuite.templatetags.material import icon
from experiments import charts
from experiments.models import ExperimentRun
from experiments.models.tally import Tally
from experiments.services.results import MetricResult, VariantResult
from experiments.statistics import Interval

register = template.Library()

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
VERDICT_ICONS = {
    "better": "trending_up",
    "worse": "trending_down",
    "same": "drag_handle",
    "unsure": "help_outline",
}
SIGNIFICANT = 3  # digits of a figure
LEAST_P = 0.0001
ONE_LINE = 60  # characters of JSON
ANY_RUN = "ANY-RUN"


@dataclass(frozen=True, slots=True)
class MainFigure:
    """What a variant's card shows in large, and its other metrics."""

    name: str
    mean: float | None
    interval: Interval
    others: list[MetricResult]


@register.filter
def main_figure(result: VariantResult) -> MainFigure:
    """The first metric; without one, the share of thumbs up."""
    if not result.metrics:
        return MainFigure("Thumbs up", result.thumbs.rate, result.thumbs.interval, [])
    first, *others = result.metrics
    return MainFigure(first.metric.name, first.mean, first.interval, others)


@register.filter
def cell_parts(result: VariantResult) -> list[charts.Part]:
    """The cells by state, one state after the other."""
    return charts.stack((state, state, float(n)) for state, n in result.cells.items() if state != "total")


@register.filter
def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@register.filter
def field(form: forms.Form, name: str) -> forms.BoundField:
    """A form's field by a name that a template holds in a variable."""
    return form[name]


@register.filter
def as_json(value: object) -> str:
    """A parameter as it went over the wire; text as it is."""
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= ONE_LINE else json.dumps(value, ensure_ascii=False, indent=2)


@register.filter
def figure(value: float | None) -> str:
    """Three significant digits, never as a power of ten: 0.0312, 12.5, 1,834."""
    if value is None:
        return NOTHING
    digits = 0 if not value else SIGNIFICANT - 1 - math.floor(math.log10(abs(value)))
    text = f"{value:,.{min(6, max(0, digits))}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "0") else text.replace("-", MINUS)


@register.filter
def signed(value: float | None) -> str:
    text = figure(value)
    return f"+{text}" if value is not None and value > 0 and text != "0" else text


@register.filter
def p_value(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"< {LEAST_P}" if value < LEAST_P else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


@register.simple_tag
def run_url(name: str, org: Org, run: ExperimentRun) -> str:
    """As `url` says it, for pages with a hundred runs: the way to the org's runs is looked up once."""
    return _run_urls(name, org.pk).replace(ANY_RUN, str(run.pk))


@lru_cache(maxsize=512)
def _run_urls(name: str, org_id: UUID) -> str:
    return reverse(f"console:{name}", args=[org_id, ANY_RUN])


@register.simple_tag(takes_context=True)
def thumbs(context: template.Context, run: ExperimentRun, place: str = "") -> SafeString:
    """The thumbs of a run with its tally; whether they can be pressed is the page's `can_rate`."""
    enabled = bool(context.get("can_rate")) and run.state == ExperimentRun.State.SUCCEEDED
    buttons = _thumb_buttons(context["org"].pk, run.tally, enabled, place)
    return mark_safe(buttons.replace(ANY_RUN, str(run.pk)))  # nosec B308 B703  # noqa: S308 - an id of ours


@lru_cache(maxsize=512)
def _thumb_buttons(org_id: UUID, tally: Tally, enabled: bool, place: str) -> str:
    """Those of two runs differ by the id alone, and a page has a hundred of them."""
    context: dict[str, Any] = {"run_id": ANY_RUN, "rate_url": _run_urls("run-rate", org_id)}
    context |= {"tally": tally, "enabled": enabled, "place": place}
    return render_to_string("experiments/partials/thumb_buttons.html", context)


@register.simple_tag
def verdict_icon(call: str) -> SafeString:
    return icon(VERDICT_ICONS[str(call)])
