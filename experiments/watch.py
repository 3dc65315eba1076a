"""What Prometheus is told of this app when it asks: the metrics know no experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from django.conf import settings
from django.db.models import Avg, Count, F, Min, Q, QuerySet, Window
from django.db.models.functions import Coalesce, Now, RowNumber

from evalsuite.metrics import families, hooks
from evalsuite.orgs.models import Org
from experiments.models import Batch, EvalScore, Evaluation, Experiment, ExperimentRun, ExperimentVariant

STATE = ExperimentRun.State
SCORES = "scores"
OUTCOMES = [state.value for state in ExperimentRun.CLOSED]


def register() -> None:
    hooks.register_window(window)
    hooks.register_gauges("experiments.queue", queue)
    hooks.register_gauges("experiments.zeroes", zeroes)
    hooks.register_gauges("experiments.names", names)
    hooks.register_gauges("experiments.parallel", parallel)
    hooks.register_slow("cells", hooks.Slow(lambda _: ["cells"], cells_by_state, always=True))
    hooks.register_slow(SCORES, hooks.Slow(score_subjects, scores))


def window() -> hooks.Window:
    """The newest experiments, and the newest variants of each."""
    experiments = dict(_newest().values_list("pk", "org_id"))
    rows = [row for row in _shown().values_list("pk", "experiment") if row[1] in experiments]
    return hooks.Window(
        frozenset(map(str, experiments)),
        {str(pk): (str(experiments[owner]), str(owner), str(pk)) for pk, owner in rows},
    )


def _newest() -> QuerySet[Experiment]:
    return Experiment.objects.order_by("-id")[: settings.METRICS_EXPERIMENTS]


def _shown() -> QuerySet[ExperimentVariant]:
    place = Window(RowNumber(), partition_by=F("experiment"), order_by=F("id").desc())
    variants = ExperimentVariant.objects.filter(experiment__in=_newest().values("pk"))
    return variants.annotate(place=place).filter(place__lte=settings.METRICS_VARIANTS).order_by("id")


def queue() -> Iterator[hooks.Sample]:
    """Cells that somebody could call now, and how long the first of them has been waiting, in seconds."""
    ready = Q(not_before=None) | Q(not_before__lte=Now())
    cells = ExperimentRun.objects.filter(ready, state=STATE.QUEUED, batch__state=Batch.State.RUNNING)
    since = Min(Coalesce("not_before", "created_at"))
    rows = cells.order_by().values("experiment__org").annotate(n=Count("pk"), since=since, now=Now())
    found = {row["experiment__org"]: row for row in rows}
    for org in Org.objects.values_list("pk", flat=True):
        row = found.get(org)
        waits = (row["now"] - row["since"]).total_seconds() if row else 0
        yield families.QUEUE_DEPTH, (str(org),), row["n"] if row else 0
        yield families.OLDEST_CLAIMABLE, (str(org),), max(0.0, waits)


def names() -> Iterator[hooks.Sample]:
    """For people: the other series have ids, which never change."""
    for pk, name in Org.objects.order_by("pk").values_list("pk", "name"):
        yield families.ORG_INFO, (str(pk), name), 1
    for row in _shown().values_list("experiment__org", "experiment", "pk", "experiment__name", "name"):
        yield families.VARIANT_INFO, tuple(map(str, row)), 1


def zeroes() -> Iterator[hooks.Sample]:
    """What has not happened yet, so that the first time is seen as an increase."""
    for org in Org.objects.values_list("pk", flat=True):
        yield families.ATTEMPTS_LOST, (str(org),), 0
        for outcome in OUTCOMES:
            yield families.CELLS_CLOSED, (str(org), outcome), 0


def parallel() -> Iterator[hooks.Sample]:
    """Calls of each org in the air, as its limit counts them."""
    in_air: Counter[UUID] = Counter()
    running = ExperimentRun.objects.filter(state=STATE.RUNNING).order_by()
    in_air.update(dict(running.values_list("experiment__org").annotate(n=Count("pk"))))
    judging = Evaluation.objects.filter(state=Evaluation.State.RUNNING, call__isnull=False).order_by()
    in_air.update(dict(judging.values_list("evaluator__experiment__org").annotate(n=Count("pk"))))
    for org, number in in_air.items():
        yield families.QUOTA_USED, (str(org), "parallelCells"), number


def cells_by_state(_: str) -> Iterator[hooks.Sample]:
    rows = ExperimentRun.objects.order_by().values_list("state").annotate(n=Count("pk"))
    found = dict(rows)
    for state in STATE:
        yield families.CELLS, (state.value,), found.get(state.value, 0)


def score_subjects(shown: hooks.Window) -> Iterator[str]:
    return (f"{SCORES}:{experiment}" for experiment in shown.experiments)


def scores(subject: str) -> Iterator[hooks.Sample]:
    """Number and mean of the scores that stand, for the newest variants and the most used metrics."""
    experiment = Experiment.objects.filter(pk=subject.partition(":")[2]).first()
    if experiment is None:
        return
    most = settings.METRICS_VARIANTS
    newest = experiment.variants.order_by("-id").values_list("pk", flat=True)[:most]
    standing = EvalScore.objects.filter(run__experiment=experiment, run__variant__in=list(newest))
    rows = list(
        standing.order_by()
        .values_list("run__variant", "metric__key")
        .annotate(n=Count("pk"), mean=Avg("value"))
    )
    uses: Counter[str] = Counter()
    for _, key, number, _ in rows:
        uses[key] += number
    often = {key for key, _ in sorted(uses.items(), key=lambda use: (-use[1], use[0]))[:most]}
    for variant, key, number, mean in rows:
        if key in often:
            labels = (str(experiment.org_id), str(experiment.pk), str(variant), key)
            yield families.SCORES, labels, number
            yield families.SCORE_AVERAGE, labels, mean
