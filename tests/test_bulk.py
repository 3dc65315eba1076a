"""Many rows at once: what is written is what a save of each would have written, on every database."""

from __future__ import annotations

import json
import uuid

import pytest
from django.db import IntegrityError
from django.utils import timezone

from evalsuite.bulk import Alike, insert_alike, insert_few, insert_rows, update_rows
from experiments.models import ExperimentInput, ExperimentRun, RunAttempt
from playground.models import PlaygroundMessage, PlaygroundSession
from tests import factories

WORDS = 'quotes \' " \\ %s, a tab\t, a line\n, Grüße 🙂, \\N and {"json": 1}'
FIGURES = {"temperature": 0.2, "top_p": 0.9}


@pytest.fixture
def runs(org):
    experiment = factories.make_experiment(org, inputs=1, variants=1)
    return [factories.make_run(experiment, state="running") for _ in range(3)]


def test_each_row_gets_its_own_values_and_the_others_none(runs):
    first, second, other = runs
    ended = timezone.now()
    written = [
        {"output": WORDS, "latency_ms": 7, "tokens_per_second": 1.5, "cold_start": True,
         "tool_calls": [{"name": WORDS}], "evaluation_notes": {WORDS: "é"}, "finished_at": ended},
        {"output": "", "latency_ms": None, "tokens_per_second": None, "cold_start": False,
         "tool_calls": [], "evaluation_notes": {}, "finished_at": None},
    ]  # fmt: skip
    update_rows(ExperimentRun, list(zip([first.pk, second.pk], written, strict=True)))
    for run, values in zip([first, second], written, strict=True):
        run.refresh_from_db()
        assert {name: getattr(run, name) for name in values} == values
    before = other.output
    other.refresh_from_db()
    assert (other.output, other.finished_at) == (before, None)


@pytest.mark.parametrize("count", [1, 3])
def test_rows_are_inserted_as_they_were_given(runs, count):
    begun = timezone.now()
    rows = [
        {"id": uuid.uuid4(), "run": run.pk, "number": 5, "worker": WORDS, "started_at": begun}
        for run in runs[:count]
    ]
    insert_rows(RunAttempt, rows)
    kept = RunAttempt.objects.filter(number=5)
    columns = kept.order_by("id").values("id", "run", "number", "worker", "started_at")
    assert list(columns) == sorted(rows, key=lambda row: row["id"])
    assert set(kept.values_list("outcome", "ended_at")) == {("", None)}


def test_a_few_objects_go_in_together_and_each_after_what_it_refers_to(org):
    session = PlaygroundSession(
        org=org, user=factories.make_user(), model_provider="p", model_name=WORDS, **FIGURES
    )
    message = PlaygroundMessage(session=session, role="user", content=WORDS)
    insert_few(session, message)
    assert not session._state.adding
    kept = PlaygroundMessage.objects.select_related("session").get()
    assert (kept.pk, kept.content, kept.timings) == (message.pk, WORDS, message.timings)
    assert (kept.session, kept.session.model_name) == (session, WORDS)
    kept.save()  # as an object that is there
    with pytest.raises(IntegrityError):
        insert_few(PlaygroundMessage(id=message.pk, session=session, role="user", content="again"))


def test_the_same_row_twice_is_refused(runs):
    row = {"id": uuid.uuid4(), "run": runs[0].pk, "number": 5, "worker": "", "started_at": timezone.now()}
    with pytest.raises(IntegrityError):
        insert_rows(RunAttempt, [row, row])


def test_rows_that_are_alike_have_each_their_own_and_what_their_group_shares(org):
    first, second = (factories.make_experiment(org, inputs=0, variants=0) for _ in range(2))
    metadata = {WORDS: [1.5, None]}
    groups = [
        Alike(
            [(uuid.uuid4(), f"{n} {WORDS}", "Line\r\n", None, json.dumps(metadata)) for n in range(count)],
            {"experiment_id": experiment.pk},
        )
        for experiment, count in ((first, 2_001), (second, 1))
    ]
    insert_alike(ExperimentInput, ("id", "key", "content", "expected", "metadata"), *groups)
    for experiment, group in zip((first, second), groups, strict=True):
        kept = ExperimentInput.objects.filter(experiment=experiment).order_by("id")
        named = {row.pk: (row.key, row.content, row.expected, row.metadata) for row in kept}
        assert named == {row[0]: (*row[1:4], metadata) for row in group.rows}
    insert_alike(ExperimentInput, ("id",), Alike([], {}))
