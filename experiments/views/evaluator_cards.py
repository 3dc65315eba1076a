"""What the evaluators' card and its dialogs show."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from evalsuite.orgs.console import OrgPage
from evalsuite.prepared import Prepared
from experiments.evaluators.registry import KINDS
from experiments.models import Evaluator, Experiment, ExperimentRun
from llm_routing.models import RegisteredModel

RECENT_BATCHES = 20


@dataclass(frozen=True, slots=True)
class Line:
    """One evaluator on the card: what it is, and how far its queue is."""

    row: Evaluator
    title: str
    words: str
    model: str
    pending: int
    done: int
    missing: int

    @property
    def total(self) -> int:
        return self.pending + self.done + self.missing

    @property
    def ended(self) -> int:
        return self.done + self.missing


EVALUATORS = Prepared(
    lambda experiment: (
        Evaluator.objects.filter(experiment=experiment)
        .select_related("metric")
        .with_progress()
        .order_by("id")
    ),
    UUID,
)


def evaluators_card(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """Of an experiment `as_it_stands`."""
    found: Any = experiment
    lines = [_line(row) for row in EVALUATORS.all(experiment.pk)]
    enabled = [line for line in lines if line.row.enabled]
    return {
        "org": page.org,
        "experiment": experiment,
        "can_write": "org:experiments:write" in page.permissions,
        "evaluators": lines,
        "evaluations_ended": sum(line.ended for line in lines),
        "has_more_to_tell": any(line.pending or found.under_way for line in enabled),
        "can_evaluate": enabled and found.has_answers,
    }


def evaluate_again_dialog(page: OrgPage, experiment: Experiment) -> dict[str, Any]:
    """Which answers there are to look at, and who can."""
    return {
        "org": page.org,
        "experiment": experiment,
        "answers": _answers(experiment).count(),
        "enabled": experiment.evaluators.filter(enabled=True).order_by("id"),
        "batches": experiment.batches.filter(finished_at__isnull=False).order_by("-id")[:RECENT_BATCHES],
    }


def _answers(experiment: Experiment) -> QuerySet[ExperimentRun]:
    """Those of batches that have ended."""
    return experiment.runs.filter(state=ExperimentRun.State.SUCCEEDED, batch__finished_at__isnull=False)


def _line(row: Any) -> Line:
    kind = KINDS[row.kind]
    model = row.config.get("modelName") or "the default model"
    return Line(
        row=row,
        title=kind.title,
        words=row.config.get("rubric") or describe(row.kind),
        model=model if kind.needs_call else "",
        pending=row.pending,
        done=row.done,
        missing=row.missing,
    )


def describe(kind: str) -> str:
    """What the kind says about itself, as far as its first blank line."""
    return " ".join((inspect.getdoc(KINDS[kind]) or "").split("\n\n")[0].replace("`", "").split())


def kind_choices() -> list[tuple[str, str]]:
    return [(kind, KINDS[kind].title) for kind in KINDS]


def model_choices(page: OrgPage) -> list[tuple[str, str]]:
    """Models that the org may call, by what a form sends for them."""
    usable = RegisteredModel.objects.usable_by(page.org).select_related("provider")
    return [
        (f"{model.provider.slug} {model.name}", f"{model.name} ({model.provider.name})") for model in usable
    ]
