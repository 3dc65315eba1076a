"""What got better and what got worse, input by input, with an answer of each side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from evalsuite import textdiff
from experiments.models import Experiment, ExperimentInput, ExperimentRun
from experiments.services.comparison import Pair, Side
from experiments.services.figures import HIGHER

GROUPS = {"worse": "Got worse", "better": "Got better", "same": "Stayed the same"}


@dataclass(frozen=True, slots=True)
class Case:
    """An input on which the two can be told apart, with an answer of each."""

    pair: Pair
    input: ExperimentInput
    before: ExperimentRun | None
    after: ExperimentRun | None
    difference: textdiff.Difference


def grouped(pairs: Iterable[Pair], *, margin: float, direction: str) -> dict[str, list[Pair]]:
    """What got worse, better, or stayed within the margin; the greatest differences first."""
    groups: dict[str, list[Pair]] = {key: [] for key in GROUPS}
    sign = 1 if direction == HIGHER else -1
    for pair in pairs:
        gain = sign * pair.difference
        groups["better" if gain > margin else "worse" if gain < -margin else "same"].append(pair)
    for members in groups.values():
        members.sort(key=lambda pair: -abs(pair.difference))
    return groups


def cases_of(experiment: Experiment, pairs: Iterable[Pair], baseline: Side, candidate: Side) -> list[Case]:
    pairs = list(pairs)
    ids = [pair.input_id for pair in pairs]
    inputs = ExperimentInput.objects.filter(experiment=experiment).in_bulk(ids)
    before, after = answers(experiment, baseline, ids), answers(experiment, candidate, ids)
    return [
        Case(
            pair,
            inputs[pair.input_id],
            before.get(pair.input_id),
            after.get(pair.input_id),
            textdiff.compare(
                _output(before.get(pair.input_id)),
                _output(after.get(pair.input_id)),
            ),
        )
        for pair in pairs
        if pair.input_id in inputs
    ]


def answers(experiment: Experiment, side: Side, input_ids: Sequence[UUID]) -> dict[UUID, ExperimentRun]:
    """An answer of this side on each input: of its newest batch, the first repeat."""
    cells = ExperimentRun.objects.filter(
        experiment=experiment, variant=side.variant, input__in=input_ids, state=ExperimentRun.State.SUCCEEDED
    )
    if side.batch:
        cells = cells.filter(batch=side.batch)
    rank = Window(RowNumber(), partition_by=[F("input")], order_by=[F("batch").desc(), F("repeat").asc()])
    first = cells.order_by().annotate(rank=rank).filter(rank=1)
    return {run.input_id: run for run in first.only("input", "output")}


def _output(run: ExperimentRun | None) -> str:
    return run.output if run else ""
