"""Experiments with their finished batches, as rows of all the tables that the engine writes to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from django.db import transaction

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import User
from evalsuite.quotas.models import UsageRecord
from experiments.loadtest.answers import BY_PEOPLE, EVALUATORS, Answer, Case, Pace
from experiments.loadtest.figures import Figures
from experiments.loadtest.ids import Ids, dashed, day_of, stamp
from experiments.loadtest.setup import Place
from experiments.loadtest.shape import BATCHES, SCORES_PER_CELL, VARIANTS
from experiments.loadtest.tables import NULL, Table, line
from experiments.models import (
    Batch,
    EvalScore,
    Evaluator,
    Experiment,
    ExperimentInput,
    ExperimentRun,
    ExperimentVariant,
    RunAttempt,
    Thumb,
)
from experiments.services.planning import DEFAULT_PARALLEL
from llm_routing import resolution
from llm_routing.errors import PromptTooLong
from llm_routing.types import Parameters

FAILS, LIKED = 0.01, 0.7  # shares
RATED_EACH = 50  # of so many cells of a batch the first has a thumb
SETTLES = SCORES_PER_CELL + 1  # cells that must follow one that fails: people score them instead
TICK_MS, RATED_MS = 50, 60_000  # between two cells of a batch, and until somebody looks at an answer
KEYS_TOLD = 100
TOO_LONG = "The prompt is too long for the model."
PROMPTS = ("Answer the customer in one sentence.", "You are a patient clerk. Answer in one sentence.")
SUCCEEDED, FAILED = ExperimentRun.State.SUCCEEDED.value, ExperimentRun.State.FAILED.value
RUN = ExperimentRun._meta.label_lower
# The end of what a cell's event tells, by whether it failed.
TOLD = ('"error": null, "attempt": 1}', f'"error": "{PromptTooLong.code}", "attempt": 1}}')


@dataclass(frozen=True, slots=True)
class Way:
    """A variant."""

    pk: str
    name: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Question:
    """An input; `which` case of the stock it is."""

    pk: str
    key: str
    which: int


@dataclass(frozen=True, slots=True)
class Work:
    """A batch under way: what its cells have in common. `judges` are ids of evaluators and their metrics."""

    experiment: str
    batch: str
    begun_ms: int
    judges: list[tuple[str, str]]


class CellWriter:
    """Collects rows; `flush` writes them."""

    def __init__(self, place: Place, chance: Random) -> None:
        self.place, self.chance, self.ids = place, chance, Ids(chance)
        self.figures = Figures(place)
        self.debt = 0  # scores that failed cells do not have
        self.owner = line((place.owner.pk.hex, place.owner.username))
        self._parts: dict[tuple[str, int], tuple[str, str, str]] = {}
        self.people = [(user, user.pk.hex) for user in place.members]
        self.metrics = {key: metric.pk.hex for key, metric in place.metrics.items()}
        model, org, owner = place.model, place.org, place.owner
        parameters = Parameters()
        named = {"model_provider": model.provider.slug, "model_name": model.name}
        self.experiments = Table(
            Experiment, "id", "created_at", "updated_at", "name", org_id=org.pk, created_by_id=owner.pk
        )
        self.variants = Table(ExperimentVariant, "id", "created_at", "experiment_id", "name", "system_prompt")
        self.inputs = Table(
            ExperimentInput, "id", "created_at", "experiment_id", "key", "content", "expected"
        )
        self.evaluators = Table(
            Evaluator, "id", "created_at", "experiment_id", "metric_id", "kind", "name", "config"
        )
        self.batches = Table(
            Batch,
            *("id", "created_at", "experiment_id", "total", "tokens", "started_at", "finished_at"),
            state=Batch.State.FINISHED.value,
            author_id=owner.pk,
            parallel=DEFAULT_PARALLEL,
        )
        self.runs = Table(
            ExperimentRun,
            *("id", "created_at", "experiment_id", "batch_id", "variant_id", "input_id", "position"),
            *("messages", "snapshot", "queue_ms", "thumbs_up", "started_at", "finished_at", "state"),
            *("error_code", "error_message", "output", "stop_reason", "input_tokens", "output_tokens"),
            *("latency_ms", "first_token_ms", "prompt_ms", "decode_ms", "tokens_per_second"),
            attempt=1,
            model_id=model.pk,
            **named,
            temperature=parameters.temperature,
            top_p=parameters.top_p,
            parameters=resolution.parameters_to_json(parameters),
        )
        self.attempts = Table(
            RunAttempt,
            *("id", "run_id", "started_at", "ended_at", "outcome", "error_code", "error_message"),
            number=1,
            worker="loadtest",
        )
        self.scores = Table(
            EvalScore, "id", "created_at", "run_id", "metric_id", "value", "note", "rater_id", "evaluator_id"
        )
        self.thumbs = Table(Thumb, "id", "created_at", "run_id", "rater_id", "up")
        self.ledger = Table(
            UsageRecord,
            *("id", "created_at", "attempt", "day", "experiment_id", "input_tokens", "output_tokens"),
            org_id=org.pk,
            user_id=owner.pk,
            kind=UsageRecord.Kind.EXPERIMENT.value,
            state=UsageRecord.State.SETTLED.value,
            **named,
        )
        self.events = Table(
            AuditEvent,
            *("id", "created_at", "actor_id", "actor_name", "event", "object_type", "object_id"),
            *("before", "after"),
            org_id=org.pk,
        )

    @property
    def waiting(self) -> int:
        """Cells that are not written yet."""
        return len(self.runs.lines)

    def flush(self) -> None:
        with transaction.atomic():
            for table in vars(self).values():
                if isinstance(table, Table):
                    table.flush()
            self.figures.save()

    def experiment(self, number: int, inputs: int, ms: int) -> int:
        """One that was made at this time, with its batches. Answers the number of its cells."""
        pk, at, name = self.ids.at(ms), stamp(ms), f"Support answers {number}"
        self.experiments.add(pk, at, at, name)
        self._told(ms, "experiment.created", Experiment, pk, {"name": name})
        ways = [self._variant(pk, ms, n, prompt) for n, prompt in enumerate(PROMPTS[:VARIANTS], 1)]
        judges = [self._evaluator(pk, ms, *facts) for facts in EVALUATORS]
        if not inputs:
            return 0
        questions = [self._input(pk, ms, n) for n in range(1, inputs + 1)]
        keys = [question.key for question in questions[:KEYS_TOLD]]
        self._told(ms, "experiment.inputs.created", Experiment, pk, {"count": inputs, "keys": keys})
        for _ in range(BATCHES):
            ms = self._batch(Work(pk, self.ids.at(ms), ms + 1_000, judges), ways, questions)
        return inputs * VARIANTS * BATCHES

    def _variant(self, experiment: str, ms: int, number: int, prompt: str) -> Way:
        way = Way(self.ids.at(ms), f"Prompt {number}", prompt)
        self.variants.add(way.pk, stamp(ms), experiment, way.name, prompt)
        facts = {"name": way.name, "experimentId": dashed(experiment), "systemPrompt": prompt}
        self._told(ms, "experiment.variant.created", ExperimentVariant, way.pk, facts)
        return way

    def _evaluator(
        self, experiment: str, ms: int, kind: str, config: dict[str, Any], key: str
    ) -> tuple[str, str]:
        pk, metric = self.ids.at(ms), self.metrics[key]
        self.evaluators.add(pk, stamp(ms), experiment, metric, kind, key, json.dumps(config))
        facts = {"experimentId": dashed(experiment), "kind": kind, "metricKey": key}
        self._told(ms, "experiment.evaluator.created", Evaluator, pk, facts)
        return pk, metric

    def _input(self, experiment: str, ms: int, number: int) -> Question:
        which = self.chance.randrange(len(self.place.stock.cases))
        case, question = self.place.stock.cases[which], Question(self.ids.at(ms), f"case_{number}", which)
        self.inputs.add(question.pk, stamp(ms), experiment, question.key, case.content, case.expected)
        return question

    def _batch(self, work: Work, ways: list[Way], questions: list[Question]) -> int:
        """One batch with all its cells. Answers when it ended."""
        total, tokens, position, end_ms = len(ways) * len(questions), 0, 0, work.begun_ms
        self._told(work.begun_ms, "experiment.run.started", Batch, work.batch, {"cells": total})
        for way in ways:
            told = []
            for question in questions:
                answer, pace = self._outcome(question, followed_by=total - position - 1)
                begun_ms = work.begun_ms + TICK_MS * position
                self._cell(work, way, question, position, answer, pace, begun_ms)
                told.append((answer, pace))
                tokens += answer.input_tokens + answer.output_tokens if answer else 0
                position += 1
                end_ms = max(end_ms, begun_ms + pace.latency_ms)
            self.figures.cells(dashed(work.experiment), dashed(way.pk), told, day_of(work.begun_ms))
        start = stamp(work.begun_ms)
        self.batches.add(work.batch, start, work.experiment, total, tokens, start, stamp(end_ms))
        return end_ms

    def _outcome(self, question: Question, *, followed_by: int) -> tuple[Answer | None, Pace]:
        """None where the cell fails."""
        pace = self.chance.choice(self.place.stock.paces)
        if not self.debt and followed_by >= SETTLES and self.chance.random() < FAILS:
            self.debt = SCORES_PER_CELL
            return None, pace
        return self.chance.choice(self.place.stock.answers[question.which]), pace

    def _cell(  # noqa: PLR0917 - a million times
        self,
        work: Work,
        way: Way,
        question: Question,
        position: int,
        answer: Answer | None,
        pace: Pace,
        begun_ms: int,
    ) -> None:
        run, attempt, ended_ms = self.ids.at(work.begun_ms), self.ids.at(begun_ms), begun_ms + pace.latency_ms
        start, end = stamp(begun_ms), stamp(ended_ms)
        up = self._thumb(work, way, run, ended_ms) if answer and position % RATED_EACH == 0 else NULL
        messages, snapshot = self._sent(way, question)
        self.runs.add_line(
            f"{run}\t{stamp(work.begun_ms)}\t{work.experiment}\t{work.batch}\t{way.pk}\t{question.pk}"
            f"\t{position}\t{messages}\t{snapshot}\t{begun_ms - work.begun_ms}\t{up}\t{start}\t{end}"
            f"\t{_result(answer, pace)}"
        )
        state = SUCCEEDED if answer else FAILED
        error = "\t" if answer else f"{PromptTooLong.code}\t{TOO_LONG}"
        self.attempts.add_line(f"{attempt}\t{run}\t{start}\t{end}\t{state}\t{error}")
        self.events.add_line(
            f"{self.ids.at(ended_ms)}\t{end}\t{self.owner}\texperiment.run.completed\t{RUN}\t{dashed(run)}"
            f'\t{NULL}\t{{"batchId": "{dashed(work.batch)}", "state": "{state}", {TOLD[answer is None]}'
        )
        if answer is None:
            return
        self.ledger.add_line(
            f"{self.ids.at(ended_ms)}\t{end}\t{attempt}\t{day_of(work.begun_ms)}\t{work.experiment}"
            f"\t{answer.input_tokens}\t{answer.output_tokens}"
        )
        for (evaluator, metric), verdict in zip(work.judges, (*answer.verdicts, pace.verdict), strict=True):
            score = f"{verdict.value}\t{verdict.note or NULL}\t{NULL}\t{evaluator}"
            self.scores.add_line(f"{self.ids.at(ended_ms)}\t{end}\t{run}\t{metric}\t{score}")
        if self.debt:
            self._style(run, ended_ms)

    def _sent(self, way: Way, question: Question) -> tuple[str, str]:
        """Messages and snapshot, as JSON."""
        parts = self._parts.get((way.prompt, question.which))
        if parts is None:
            parts = self._parts[way.prompt, question.which] = _parts(
                way, self.place.stock.cases[question.which]
            )
        messages, head, tail = parts
        return messages, f'{head}"{question.key}"{tail}'

    def _thumb(self, work: Work, way: Way, run: str, ended_ms: int) -> int:
        """1 for up, 0 for down."""
        (rater, pk), ms, up = (
            self.chance.choice(self.people),
            ended_ms + RATED_MS,
            self.chance.random() < LIKED,
        )
        self.thumbs.add(self.ids.at(ms), stamp(ms), run, pk, int(up))
        before: dict[str, Any] = {"thumbsUp": None}
        self._event(ms, "experiment.feedback.updated", RUN, run, {"thumbsUp": up}, before, rater)
        self.figures.thumb(dashed(work.experiment), dashed(way.pk), up=up)
        return int(up)

    def _style(self, run: str, ended_ms: int) -> None:
        """A person's score, in place of one that a failed cell does not have."""
        (rater, rater_pk), ms, value = self.people[0], ended_ms + RATED_MS, float(self.chance.randint(1, 5))
        pk = self.ids.at(ms)
        self.scores.add(pk, stamp(ms), run, self.metrics[BY_PEOPLE], value, None, rater_pk, None)
        facts = {"runId": dashed(run), "metricKey": BY_PEOPLE, "value": value, "note": None}
        self._event(ms, "experiment.score.created", EvalScore._meta.label_lower, pk, facts, actor=rater)
        self.debt -= 1

    def _told(self, ms: int, event: str, model: Any, pk: str, facts: dict[str, Any]) -> None:
        self._event(ms, event, model._meta.label_lower, pk, facts)

    def _event(  # noqa: PLR0917 - an event has as much to tell
        self,
        ms: int,
        name: str,
        label: str,
        pk: str,
        after: dict[str, Any],
        before: dict[str, Any] | None = None,
        actor: User | None = None,
    ) -> None:
        who = actor or self.place.owner
        facts = (None if before is None else json.dumps(before), json.dumps(after))
        subject = (name, label, dashed(pk))
        self.events.add(self.ids.at(ms), stamp(ms), who.pk.hex, who.username, *subject, *facts)


def _parts(way: Way, case: Case) -> tuple[str, str, str]:
    """Messages, and the snapshot before and after the input's key, as JSON."""
    messages = [{"role": "system", "content": way.prompt}, {"role": "user", "content": case.content}]
    head = {"variant": way.name, "promptTemplate": "{{ input }}", "chatProfile": None}
    tail = {"content": case.content, "expected": case.expected, "metadata": {}}
    return json.dumps(messages), f'{json.dumps(head)[:-1]}, "inputKey": ', f", {json.dumps(tail)[1:]}"


def _result(answer: Answer | None, pace: Pace) -> str:
    """State, error, output and figures: the last columns of a run."""
    if answer is None:
        return line((FAILED, PromptTooLong.code, TOO_LONG, "", "", *(None,) * 7))
    speed = round(answer.output_tokens / (pace.decode_ms / 1000), 2)
    return (
        f"{SUCCEEDED}\t\t\t{answer.output}\tstop\t{answer.input_tokens}\t{answer.output_tokens}"
        f"\t{pace.latency_ms}\t{pace.first_token_ms}\t{pace.prompt_ms}\t{pace.decode_ms}\t{speed}"
    )
