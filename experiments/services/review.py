"""Looking at the answers of a batch one by one: in which order, which are left, and which key means what.

Each rater has an order of their own, so that no variant is judged first by all, and it stays the same
whatever is rated meanwhile.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from evalsuite.errors import NotFound
from evalsuite.orgs.models import Org, User
from experiments.models import Batch, EvalMetricDefinition, EvalScore, ExperimentRun, Thumb
from experiments.services import feedback
from experiments.services.metric_definitions import off_scale

MOST_KEYS = 9


@dataclass(frozen=True, slots=True)
class Queue:
    """Cells in this rater's order. `rated`: those of them to which the rater gave a thumb or a score."""

    ids: tuple[UUID, ...]
    rated: frozenset[UUID]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def left(self) -> int:
        return len(self.ids) - len(self.rated)

    def begin(self) -> UUID | None:
        """Where to go on: the first that is not rated, the first of all where every one is."""
        return self.unrated_after(None) or next(iter(self.ids), None)

    def place(self, run_id: UUID) -> int:
        """From 1. Raises NotFound for a cell that is not in the queue."""
        try:
            return self.ids.index(run_id) + 1
        except ValueError:
            raise NotFound("run") from None

    def step(self, run_id: UUID, by: int, *, only_unrated: bool) -> UUID | None:
        """The nearest one that way (1 or -1), or None at the end."""
        at = self.place(run_id) - 1
        way: Iterable[UUID] = self.ids[at + 1 :] if by > 0 else reversed(self.ids[:at])
        return next((one for one in way if not (only_unrated and one in self.rated)), None)

    def unrated_after(self, run_id: UUID | None) -> UUID | None:
        """The next one that is not rated, from the end on from the beginning; never the one itself."""
        at = self.place(run_id) if run_id else 0
        turned = (*self.ids[at:], *self.ids[:at])
        return next((one for one in turned if one not in self.rated and one != run_id), None)


def queue_of(batch: Batch, rater: User, *, state: str = "", variant: UUID | None = None) -> Queue:
    """All cells of the batch, or those in one state, or of one variant."""
    cells = ExperimentRun.objects.filter(batch=batch).order_by()
    if state:
        cells = cells.filter(state=state)
    if variant:
        cells = cells.filter(variant=variant)
    ids = cells.values_list("pk", flat=True)
    thumbs = Thumb.objects.filter(run__batch=batch, rater=rater).order_by()
    scores = EvalScore.objects.filter(run__batch=batch, rater=rater).order_by()
    rated = {*thumbs.values_list("run", flat=True), *scores.values_list("run", flat=True)}
    ordered = shuffled(ids, rater.pk, batch.pk)
    return Queue(ordered, frozenset(rated.intersection(ordered)))


def shuffled(ids: Iterable[UUID], rater: UUID, batch: UUID) -> tuple[UUID, ...]:
    """In an order that looks like chance, and is the same each time for this rater and this batch."""
    seed = rater.bytes + batch.bytes

    def by(run_id: UUID) -> bytes:
        return hashlib.blake2s(run_id.bytes, key=seed, digest_size=16).digest()

    return tuple(sorted(ids, key=by))


@dataclass(frozen=True, slots=True)
class ScoreKey:
    """A number key and the value that it gives, with the metric's word for it where there is one."""

    key: int  # 1..9
    value: float
    label: str


def keys_of(metric: EvalMetricDefinition) -> list[ScoreKey]:
    """Up to nine values that are spread over the metric's scale, each of which it takes.

    All that it has where they are so few, such as 1 to 5. Else those with a word, where there are words
    for no more than nine. Without bounds the keys are the numbers on them.
    """
    values = dict.fromkeys(value for value in _values(metric) if off_scale(metric, value) is None)
    return [ScoreKey(key, value, metric.label_of(value)) for key, value in enumerate(values, start=1)]


def _values(metric: EvalMetricDefinition) -> Sequence[float]:
    low, high, step = metric.minimum, metric.maximum, metric.step
    every = _every(low, high, step)
    if every:
        return every
    if 2 <= len(metric.labels) <= MOST_KEYS:
        return sorted(float(value) for value in metric.labels)
    if low is not None and high is not None:
        spread = [low + (high - low) * part / (MOST_KEYS - 1) for part in range(MOST_KEYS)]
        return [_snapped(value, low, step) for value in spread]
    if low is not None:
        return [_tidy(low + number * (step or 1)) for number in range(MOST_KEYS)]
    if high is not None:
        top = step * (high // step) if step else high
        return [_tidy(top - number * (step or 1)) for number in reversed(range(MOST_KEYS))]
    return [_tidy(number * (step or 1)) for number in range(1, MOST_KEYS + 1)]


def _every(low: float | None, high: float | None, step: float | None) -> list[float]:
    """All values of a short scale; a scale without a step goes by whole numbers where its ends do."""
    if low is None or high is None:
        return []
    if not step and low == int(low) and high == int(high) and high - low > 1:
        step = 1.0
    if not step or (high - low) / step > MOST_KEYS - 1 + 1e-9:
        return []
    return [_tidy(low + number * step) for number in range(int((high - low) / step + 1e-9) + 1)]


def _snapped(value: float, low: float, step: float | None) -> float:
    steps = (value - low) / step if step else math.inf
    return _tidy(low + round(steps) * step) if step and math.isfinite(steps) else _tidy(value)


def _tidy(value: float) -> float:
    """0.30000000000000004 is 0.3."""
    return float(f"{value:.15g}")


def press_thumb(run: ExperimentRun, *, org: Org, actor: User, up: bool) -> None:
    """Set this person's thumb; the one that is set already is taken away."""
    own = Thumb.objects.filter(run=run, rater=actor, up=up).exists()
    feedback.give_feedback(run, org=org, actor=actor, given={"thumbs_up": None if own else up})


def press_score(
    run: ExperimentRun, *, org: Org, actor: User, metric: EvalMetricDefinition, value: float
) -> None:
    """Set this person's score, and keep its note; the value that is set already is taken away.

    Raises InvalidBody and Conflict as `give_score`.
    """
    own = EvalScore.objects.filter(run=run, metric=metric, rater=actor).select_related("metric").first()
    if own and own.value == value:
        feedback.delete_score(own, org=org, actor=actor)
        return
    note = own.note if own else None
    feedback.give_score(run, org=org, rater=actor, metric_key=metric.key, value=value, note=note)


def add_note(run: ExperimentRun, *, org: Org, actor: User, text: str) -> None:
    """Put a line under the cell's note. Whoever reviews blindly does not see what others wrote there."""
    with transaction.atomic():
        locked = ExperimentRun.objects.select_for_update().only("feedback_note").get(pk=run.pk)
        note = "\n".join(filter(None, [locked.feedback_note, text]))
        feedback.give_feedback(run, org=org, actor=actor, given={"feedback_note": note})
