"""The sums that are kept beside the rows: figures for Prometheus, and those of the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from uuid import UUID

from evalsuite.metrics import families
from evalsuite.metrics.changes import Changes
from evalsuite.quotas.models import ExperimentUsage, UsageCounter, UsageRecord, UsageSum
from experiments.loadtest.answers import Answer, Pace
from experiments.loadtest.setup import Place
from experiments.models import ExperimentRun
from experiments.services.counting import scores_of

KIND, STATE = UsageRecord.Kind.EXPERIMENT.value, ExperimentRun.State
CELLS_OF = {True: STATE.SUCCEEDED.value, False: STATE.FAILED.value}
CALLS_OF = {True: "succeeded", False: "prompt_too_long"}


class Figures:
    """Adds up what is told of cells. Experiments and variants go by their ids as text."""

    def __init__(self, place: Place) -> None:
        self._org = place.org
        self._model = (place.model.provider.slug, place.model.name)
        self._changes = Changes()
        self._days: dict[str, Counter[str]] = defaultdict(Counter)
        self._experiments: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # by day

    def cells(
        self, experiment: str, variant: str, told: Iterable[tuple[Answer | None, Pace]], day: str
    ) -> None:
        """The cells of one variant in one batch, all of which ended on this day."""
        changes, org, model = self._changes, self._org.pk, self._model
        outcomes: Counter[bool] = Counter()
        tokens_in = tokens_out = 0
        for answer, pace in told:
            outcomes[answer is not None] += 1
            if answer is not None:
                tokens_in += answer.input_tokens
                tokens_out += answer.output_tokens
                changes.observe(families.EXPERIMENT_LATENCY, pace.latency_ms, org, experiment, variant)
                changes.observe(families.FIRST_TOKEN, pace.first_token_ms, *model)
        changes.count(families.EXPERIMENT_RUNS, org, experiment, variant, by=outcomes.total())
        for well, number in outcomes.items():
            changes.count(families.CELLS_CLOSED, org, CELLS_OF[well], by=number)
            changes.count(families.PROVIDER_REQUESTS, org, *model, KIND, CALLS_OF[well], by=number)
        changes.count(families.TOKENS, org, *model, KIND, "input", by=tokens_in)
        changes.count(families.TOKENS, org, *model, KIND, "output", by=tokens_out)
        changes.touch([scores_of(UUID(experiment))])
        for used in (self._days[day], self._experiments[day, experiment]):
            used.update(calls=outcomes[True], input_tokens=tokens_in, output_tokens=tokens_out)

    def thumb(self, experiment: str, variant: str, *, up: bool) -> None:
        family = families.THUMBS_UP if up else families.THUMBS_DOWN
        self._changes.count(family, self._org.pk, experiment, variant)

    def save(self) -> None:
        """Call in the transaction of the rows."""
        self._changes.save()
        self._changes = Changes()
        ExperimentUsage.objects.bulk_create(
            ExperimentUsage(org=self._org, day=day, experiment_id=experiment, **used)
            for (day, experiment), used in self._experiments.items()
            if used["calls"]
        )
        self._experiments.clear()

    @property
    def days(self) -> dict[str, Counter[str]]:
        """Calls and tokens by UTC day."""
        return dict(self._days)


def write_usage(place: Place, parts: Iterable[Mapping[str, Counter[str]]]) -> None:
    """The sums of each day and the counters of each month, as settling has left them, from all figures."""
    months: dict[str, Counter[str]] = defaultdict(Counter)
    days: dict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        for day, used in part.items():
            days[day].update(used)
            months[day[:7]].update(used)
    UsageSum.objects.bulk_create(
        UsageSum(
            org=place.org,
            day=day,
            model_provider=place.model.provider.slug,
            model_name=place.model.name,
            user_id=place.owner.pk,
            **used,
        )
        for day, used in days.items()
        if used["calls"]
    )
    last = {day[:7]: day for day in sorted(days)}
    UsageCounter.objects.bulk_create(
        UsageCounter(
            org=place.org,
            month=date.fromisoformat(f"{month}-01"),
            calls=used["calls"],
            tokens=_tokens(used),
            day=date.fromisoformat(last[month]),
            day_tokens=_tokens(days[last[month]]),
        )
        for month, used in months.items()
    )


def _tokens(used: Counter[str]) -> int:
    return used["input_tokens"] + used["output_tokens"]
