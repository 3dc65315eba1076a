"""Writing down how evaluations ended: score, notes, ledger and audit events in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, transaction
from django.utils import timezone

from evalsuite.audit.services import Event, Subject, record_many
from evalsuite.bulk import update_rows
from evalsuite.errors import EvalsuiteError
from evalsuite.metrics.changes import Changes
from evalsuite.orgs.models import User
from evalsuite.quotas import services as quotas
from experiments.evaluators.base import Verdict
from experiments.models import EvalScore, Evaluation, Evaluator, ExperimentRun
from experiments.services.counting import scores_of
from experiments.services.evaluation_queue import Task
from experiments.services.metric_definitions import off_scale
from experiments.services.recording import AGAIN_S, pause_s, worth_a_retry
from llm_routing.counting import count_call, outcome_of
from llm_routing.errors import Cancelled
from llm_routing.types import Completion

log = logging.getLogger(__name__)

STATE = Evaluation.State


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt ended: with a verdict (perhaps without a value), or with an error.

    `completion` is what was paid for. `ask_again`: the verdict says that the model's answer had no form.
    """

    task: Task
    verdict: Verdict | None = None
    error: EvalsuiteError | None = None
    completion: Completion | None = None
    ask_again: bool = False

    @property
    def goes_on(self) -> bool:
        """True where it is queued again: once for a verdict without form, and for trouble that may pass."""
        if self.error is None:
            return self.ask_again and not self.task.asked_again
        if isinstance(self.error, Cancelled):
            return True
        return worth_a_retry(self.error) and self.task.retries + 1 < settings.CELL_ATTEMPTS

    @property
    def reason(self) -> str:
        """Why there is no score; empty where there is one."""
        if self.error is not None:
            return self.error.message
        if self.verdict is None or self.verdict.value is not None:
            return ""
        twice = " It was asked twice." if self.ask_again and self.task.asked_again else ""
        return f"{self.verdict.note}{twice}"


def record_for_certain(evaluator: Evaluator, ended: Sequence[Ended]) -> None:
    """Record, while the leases last: what a model has said is paid for."""
    deadline = time.monotonic() + settings.CELL_LEASE
    while True:
        try:
            record(evaluator, ended)
        except (OperationalError, InterfaceError):
            if time.monotonic() >= deadline:
                raise
            log.warning("the database does not take %d evaluations, trying again", len(ended))
            connections.close_all()
            time.sleep(AGAIN_S)
        else:
            return


def record(evaluator: Evaluator, ended: Sequence[Ended]) -> None:
    """Write what is still ours; of the others only what they used, for that was used all the same.

    A score replaces this evaluator's earlier one, and so does the lack of one: what the evaluator cannot
    say today it does not say. The audit log keeps the old.
    """
    if not ended:
        return
    ended = [_on_the_metrics_scale(evaluator, one) for one in ended]
    with transaction.atomic():
        ours = _still_ours(ended)
        now = timezone.now()
        closed = [one for one in ours if not one.goes_on]
        again = [one for one in ours if one.goes_on]
        _write_scores(evaluator, closed, now)
        update_rows(Evaluation, [(one.task.evaluation_id, _closed(one, now)) for one in closed])
        update_rows(Evaluation, [(one.task.evaluation_id, _queued(one, now)) for one in again])
        _count(evaluator, ended, scored=bool(closed))
        _account(evaluator, ended)  # last: others wait for these rows


def _on_the_metrics_scale(evaluator: Evaluator, one: Ended) -> Ended:
    value = one.verdict.value if one.verdict else None
    if value is None or (reason := off_scale(evaluator.metric, value)) is None:
        return one
    return replace(one, verdict=Verdict(None, f"The value {value:g} is off the scale. {reason}"))


def _still_ours(ended: Sequence[Ended]) -> list[Ended]:
    rows = Evaluation.objects.filter(
        pk__in=[one.task.evaluation_id for one in ended], state=STATE.RUNNING
    ).order_by("id")
    current = dict(rows.select_for_update().values_list("id", "attempt"))
    return [one for one in ended if current.get(one.task.evaluation_id) == one.task.attempt]


def _closed(one: Ended, now: datetime) -> dict[str, Any]:
    return {
        "state": STATE.MISSING if one.reason else STATE.DONE,
        "lease_until": None,
        "reason": one.reason,
        "finished_at": now,
    }


def _queued(one: Ended, now: datetime) -> dict[str, Any]:
    task, error = one.task, one.error
    failed = error is not None and not isinstance(error, Cancelled)
    retries = task.retries + 1 if failed else task.retries
    return {
        "state": STATE.QUEUED,
        "lease_until": None,
        "not_before": now + timedelta(seconds=pause_s(error, retries)) if error else None,
        "retries": retries,
        "asked_again": task.asked_again or one.ask_again,
        "reason": one.reason,
    }


# Scores


def _write_scores(evaluator: Evaluator, closed: Sequence[Ended], now: datetime) -> None:
    if not closed:
        return
    # Locked as whoever scores by hand locks them: the notes are read and written back.
    ids = [one.task.run_id for one in closed]
    locked = ExperimentRun.objects.filter(pk__in=ids).order_by("id").select_for_update()
    notes = dict(locked.values_list("id", "evaluation_notes"))
    earlier: dict[UUID, list[EvalScore]] = {}
    scores = EvalScore.objects.filter(run__in=ids, evaluator=evaluator).select_related("metric")
    for score in scores.order_by("id"):
        earlier.setdefault(score.run_id, []).append(score)
    writer = _Writer(evaluator, _people(closed), now)
    for one in closed:
        writer.write(one, earlier.get(one.task.run_id, []))
    writer.flush()
    key = str(evaluator.pk)
    changed = []
    for one in closed:
        mine = notes[one.task.run_id]
        if mine.get(key, "") != one.reason:
            kept = {name: note for name, note in mine.items() if name != key}
            changed.append((one.task.run_id, {**kept, **({key: one.reason} if one.reason else {})}))
    update_rows(ExperimentRun, [(pk, {"evaluation_notes": value}) for pk, value in changed])


def _people(closed: Sequence[Ended]) -> Mapping[UUID, User]:
    return User.objects.in_bulk({one.task.requested_by for one in closed if one.task.requested_by})


class _Writer:
    """Collects the scores of one group and their events, and writes each kind in one statement."""

    def __init__(self, evaluator: Evaluator, people: Mapping[UUID, User], now: datetime) -> None:
        self.evaluator = evaluator
        self.people = people
        self.now = now
        self.new: list[EvalScore] = []
        self.changed: list[tuple[UUID, dict[str, Any]]] = []
        self.gone: list[UUID] = []
        self.events: list[Event] = []

    def write(self, one: Ended, earlier: Sequence[EvalScore]) -> None:
        """This evaluator's score of one run, in place of `earlier` ones (of other metrics, perhaps)."""
        kept = next((score for score in earlier if score.metric_id == self.evaluator.metric_id), None)
        kept = kept or next(iter(earlier), None)
        before = _facts(kept) if kept else None
        verdict = one.verdict
        if verdict is None or verdict.value is None:
            for score in earlier:
                self._remove(one, score)
            return
        for score in earlier:
            if score is not kept:
                self._remove(one, score)
        values = {"metric": self.evaluator.metric_id, "value": verdict.value, "note": verdict.note or None}
        if kept is None:
            score = EvalScore(
                run_id=one.task.run_id,
                metric_id=self.evaluator.metric_id,
                evaluator=self.evaluator,
                value=verdict.value,
                note=verdict.note or None,
                created_at=self.now,
            )
            self.new.append(score)
        else:
            score = kept
            self.changed.append((score.pk, {**values, "created_at": self.now}))
        after = {
            "runId": str(one.task.run_id),
            "metricKey": self.evaluator.metric.key,
            "value": verdict.value,
            "note": verdict.note or None,
        }
        if after != before:
            self._tell("experiment.score.created", one, score.pk, before, {**after, **self._source(one)})

    def _remove(self, one: Ended, score: EvalScore) -> None:
        self.gone.append(score.pk)
        after = {**self._source(one), "reason": one.reason}
        self._tell("experiment.score.deleted", one, score.pk, _facts(score), after)

    def _source(self, one: Ended) -> dict[str, Any]:
        source: dict[str, Any] = {"evaluatorId": str(self.evaluator.pk), "evaluator": self.evaluator.name}
        if one.task.call:
            source["model"] = f"{one.task.call.provider}/{one.task.call.model}"
        if one.task.asked_again:
            source["askedAgain"] = True
        return source

    def _tell(
        self,
        name: str,
        one: Ended,
        score_id: UUID,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
    ) -> None:
        actor = self.people.get(one.task.requested_by) if one.task.requested_by else None
        org = self.evaluator.experiment.org
        subject = Subject(EvalScore._meta.label_lower, score_id)
        self.events.append(Event(name, org, actor, subject, before, after))

    def flush(self) -> None:
        if self.gone:
            EvalScore.objects.filter(pk__in=self.gone).delete()
        update_rows(EvalScore, self.changed)
        EvalScore.objects.bulk_create(self.new)
        record_many(self.events)


def _facts(score: EvalScore) -> dict[str, Any]:
    return {
        "runId": str(score.run_id),
        "metricKey": score.metric.key,
        "value": score.value,
        "note": score.note,
    }


def _count(evaluator: Evaluator, ended: Sequence[Ended], *, scored: bool) -> None:
    experiment = evaluator.experiment
    changes = Changes()
    for one in ended:
        if (call := one.task.call) is not None:
            outcome = outcome_of(None if one.completion else one.error)
            facts = (experiment.org_id, call.provider, call.model, call.kind)
            count_call(changes, *facts, outcome=outcome, completion=one.completion)
    if scored:
        changes.touch([scores_of(experiment.pk)])
    changes.save()


def _account(evaluator: Evaluator, ended: Sequence[Ended]) -> None:
    """Settle what was used, and give back what was reserved for calls that came to nothing."""
    used, unused = [], []
    for one in ended:
        if one.task.call is None:
            continue
        if one.completion is None:
            unused.append(one.task.call.attempt)
        else:
            tokens = (one.completion.input_tokens, one.completion.output_tokens)
            used.append(quotas.Used(one.task.call, *tokens))
    quotas.settle(evaluator.experiment.org, used, released=unused)
