"""What cells are worth, worked out by the database: raters averaged by cell, cells by input.

A source gives a row for each cell; the statements around it average and add up, so that only sums or
pairs of values come over, never cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import (
    Avg,
    Case,
    CharField,
    Count,
    Expression,
    F,
    FloatField,
    IntegerField,
    Max,
    Min,
    Q,
    QuerySet,
    TextField,
    UUIDField,
    Value,
    When,
)
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import MD5, Cast, Coalesce

from evalsuite.orgs.models import Org
from experiments.models import EvalMetricDefinition, EvalScore, ExperimentRun, Thumb
from experiments.statistics import Moments

SUCCEEDED = Q(state=ExperimentRun.State.SUCCEEDED)
# A cold start waited for the weights: its latency compares with nothing. A cached answer has none.
COMPARABLE = SUCCEEDED & Q(cold_start=False, latency_ms__isnull=False)
HIGHER, LOWER = EvalMetricDefinition.Direction.HIGHER.value, EvalMetricDefinition.Direction.LOWER.value

# What is asked of cells, given the look-up that leads to them ("" or "run__"): which, and whose they are.
Which = Callable[[str], Q]
Column = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """One of the org's metrics, or one of the figures that every cell has."""

    key: str
    name: str
    direction: str  # "higher" or "lower" is better
    id: UUID  # the metric's own; small ones are of figures
    bounds: tuple[float, float] | None = None  # of the scale

    @classmethod
    def of(cls, metric: EvalMetricDefinition) -> Measure:
        low, high = metric.minimum, metric.maximum
        bounds = None if low is None or high is None else (low, high)
        return cls(metric.key, metric.name, metric.direction, metric.pk, bounds)


THUMBS = Measure("thumbs", "Thumbs up", HIGHER, UUID(int=1), (0.0, 1.0))
LATENCY = Measure("latency", "Latency (ms)", LOWER, UUID(int=2))
TOKENS = Measure("tokens", "Output tokens", LOWER, UUID(int=3))
OF_EVERY_CELL = {measure.key: measure for measure in (THUMBS, LATENCY, TOKENS)}


def with_figures(metrics: Iterable[EvalMetricDefinition]) -> list[Measure]:
    """These metrics, and the figures of every run that none of them goes before."""
    own = [Measure.of(row) for row in metrics]
    taken = {measure.key for measure in own}
    return own + [measure for key, measure in OF_EVERY_CELL.items() if key not in taken]


def measure_of(org: Org, key: str) -> Measure | None:
    """A metric of the org goes before a figure of the same name."""
    metric = EvalMetricDefinition.objects.for_org(org).filter(key=key).first()
    return Measure.of(metric) if metric else OF_EVERY_CELL.get(key)


# --- sources: a row for each cell and `measure`: its value `m`, `given` scores, `plain` where these are 0
# or 1 alone. All have the same columns in the same order, so that they can be put together --------------


def _is_plain(value: str) -> Case:
    return Case(When(**{f"{value}__in": (0.0, 1.0)}, then=1), default=0, output_field=IntegerField())


def scores(which: Which, **columns: Column) -> QuerySet[Any, Any]:
    """Of all metrics. Failed cells never count."""
    return (
        EvalScore.objects.filter(_answered("run__", which))
        .order_by()
        .values("run_id", measure=F("metric_id"), of_input=F("run__input_id"), **_places("run__", columns))
        .annotate(m=Avg("value"), given=Count("pk"), plain=Min(_is_plain("value")))
    )


def thumbs(which: Which, **columns: Column) -> QuerySet[Any, Any]:
    up = Cast(Case(When(up=True, then=1), default=0), FloatField())
    return (
        Thumb.objects.filter(_answered("run__", which))
        .order_by()
        .values("run_id", measure=_id_of(THUMBS), of_input=F("run__input_id"), **_places("run__", columns))
        .annotate(m=Avg(up), given=Count("pk"), plain=Value(1))
    )


def latencies(which: Which, **columns: Column) -> QuerySet[Any, Any]:
    return _numbers(LATENCY, "latency_ms", COMPARABLE & which(""), columns)


def tokens(which: Which, **columns: Column) -> QuerySet[Any, Any]:
    return _numbers(TOKENS, "output_tokens", SUCCEEDED & Q(output_tokens__isnull=False) & which(""), columns)


def _numbers(measure: Measure, name: str, which: Q, columns: Mapping[str, Column]) -> QuerySet[Any, Any]:
    """What cells have by themselves."""
    rows = ExperimentRun.objects.filter(which).order_by()
    found: Any = rows.values(
        run_id=F("pk"), measure=_id_of(measure), of_input=F("input_id"), **_places("", columns)
    )
    numbers: QuerySet[Any, Any] = found.annotate(m=Cast(name, FloatField()), given=Value(1), plain=Value(0))
    return numbers


def _id_of(measure: Measure) -> Value:
    return Value(measure.id, output_field=UUIDField())


def _answered(at: str, which: Which) -> Q:
    return Q(**{f"{at}state": ExperimentRun.State.SUCCEEDED}) & which(at)


def _places(at: str, columns: Mapping[str, Column]) -> dict[str, Any]:
    return {name: column(at) for name, column in columns.items()}


FIGURES: dict[Measure, Callable[..., QuerySet[Any, Any]]] = {
    THUMBS: thumbs,
    LATENCY: latencies,
    TOKENS: tokens,
}


def source(measures: Iterable[Measure], which: Which, **columns: Column) -> QuerySet[Any, Any]:
    """Of these measures, each cell with a row for each."""
    first, *others = (
        FIGURES[one](which, **columns) if one in FIGURES else scores(which, **columns).filter(metric=one.id)
        for one in measures
    )
    return first.union(*others, all=True) if others else first


def judgements(which: Which, **columns: Column) -> QuerySet[Any, Any]:
    """What somebody has said of the cells: scores by all metrics, and thumbs."""
    return scores(which, **columns).union(thumbs(which, **columns), all=True)


def everything(which: Which, **columns: Column) -> QuerySet[Any, Any]:
    """All that is known of the cells."""
    figures = (figure(which, **columns) for figure in FIGURES.values())
    return scores(which, **columns).union(*figures, all=True)


# --- sums: what one group of cells comes to ------------------------------------------------------------

_SUMS = """
WITH cell AS ({cells}),
one AS (
  SELECT {keys}, of_input, AVG(m) AS m, COUNT(*) AS cells, SUM(given) AS given, MIN(plain) AS plain,
    SUM(m * given) AS total
  FROM cell GROUP BY {keys}, of_input
),
apart AS (SELECT one.*, m - AVG(m) OVER (PARTITION BY {keys}) AS d FROM one)
SELECT {keys}, COUNT(*), AVG(m), SUM(d * d), SUM(d * d * d), SUM(cells), SUM(given), MIN(plain), SUM(total)
FROM apart GROUP BY {keys}
"""


@dataclass(frozen=True, slots=True)
class Summed:
    """Over the means of the inputs; `given` scores in `cells`, `total` in all. `plain`: each was 0 or 1."""

    moments: Moments
    cells: int
    given: int
    plain: bool
    total: float


def sums(cells: QuerySet[Any, Any], *keys: str) -> dict[tuple[UUID, ...], Summed]:
    """By the ids in the columns `keys`."""
    return {
        tuple(UUID(str(key)) for key in row[: len(keys)]): _summed(row[len(keys) :])
        for row in _rows([_SUMS], cells, keys=", ".join(keys))
    }


def _summed(row: Sequence[Any]) -> Summed:
    n, mean, squares, cubes, cells, given, plain, total = row
    moments = Moments.of_sums(n, mean, squares, cubes)
    return Summed(moments, int(cells), int(given), bool(plain), float(total))


# --- pairs: what two groups of cells come to, input by input -------------------------------------------

# An input whose text was changed between two batches is another test case: its versions pair with their
# own kind alone. `side` is 0 or 1.
_PAIRED = """
WITH cell AS ({cells}),
two AS (
  SELECT measure, of_input, version, MIN(plain) AS plain,
    AVG(CASE WHEN side = 0 THEN m END) AS a, AVG(CASE WHEN side = 1 THEN m END) AS b
  FROM cell GROUP BY measure, of_input, version
),
pair AS (
  SELECT measure, of_input, MIN(plain) AS plain,
    AVG(CASE WHEN b IS NOT NULL THEN a END) AS a,
    AVG(CASE WHEN a IS NOT NULL THEN b END) AS b,
    MAX(CASE WHEN b IS NULL THEN 1 ELSE 0 END) AS a_alone,
    MAX(CASE WHEN a IS NULL THEN 1 ELSE 0 END) AS b_alone
  FROM two GROUP BY measure, of_input
)
"""
_COUNTED = """
SELECT measure, a, b, COUNT(*), SUM(a_alone), SUM(b_alone), MIN(plain) FROM pair GROUP BY measure, a, b
"""
_LISTED = "SELECT of_input, a, b FROM pair WHERE a IS NOT NULL ORDER BY of_input"


@dataclass(frozen=True, slots=True)
class Paired:
    """The values of the inputs that both sides have, and how many inputs only one side has."""

    first: Sequence[float] = ()
    second: Sequence[float] = ()
    only_first: int = 0
    only_second: int = 0
    plain: bool = False


def paired(cells: QuerySet[Any, Any]) -> dict[UUID, Paired]:
    """By the measure's id. The rows have the columns `side` and `version`."""
    found: dict[UUID, list[Any]] = {}
    for measure, *row in _rows([_PAIRED, _COUNTED], cells):
        found.setdefault(UUID(str(measure)), []).append(row)
    return {measure: _paired(rows) for measure, rows in found.items()}


def listed(cells: QuerySet[Any, Any]) -> Iterator[tuple[UUID, float, float]]:
    """Of one measure: input, and its value on either side, in the order in which the inputs were added."""
    for of_input, first, second in _rows([_PAIRED, _LISTED], cells):
        yield UUID(str(of_input)), first, second


def _paired(rows: Sequence[Any]) -> Paired:
    """Equal pairs come as one row with their number."""
    both = [(a, b, n) for a, b, n, *_ in rows if a is not None]
    alone = [(int(first), int(second)) for a, _, _, first, second, _ in rows if a is None]
    return Paired(
        first=[a for a, _, n in both for _ in range(n)],
        second=[b for _, b, n in both for _ in range(n)],
        only_first=sum(first for first, _ in alone),
        only_second=sum(second for _, second in alone),
        plain=bool(rows) and all(row[-1] for row in rows),
    )


def side(first: Q) -> Case:
    """0 for the cells of the first side, 1 for others."""
    return Case(When(first, then=0), default=1, output_field=IntegerField())


def version(at: str) -> Expression:
    """What stands for the text of the input as it was sent."""
    text = KeyTextTransform("content", F(f"{at}snapshot"))
    return MD5(Coalesce(text, Value(""), output_field=TextField()))


def one_version(_at: str) -> Expression:
    """Where no input has changed."""
    return Value("", output_field=CharField())


def has_changed_inputs(which: Which) -> bool:
    """True where two of these cells were sent different texts for the same input."""
    by_input: QuerySet[Any, Any] = ExperimentRun.objects.filter(which("")).order_by().values("input")
    found = by_input.annotate(one=Min(version("")), other=Max(version("")))
    return bool(found.exclude(one=F("other")).exists())


def _rows(parts: Sequence[str], cells: QuerySet[Any, Any], *, keys: str = "") -> Sequence[Any]:
    """Of our own statement around Django's. Nothing but names of columns is put into it as text."""
    inner, params = cells.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute("".join(parts).format(cells=inner, keys=keys), params)
        rows: Sequence[Any] = cursor.fetchall()
    return rows
