"""The evaluators of an experiment beside its cells: what they see, and that their trouble harms nothing."""

from __future__ import annotations

import pytest

from evalsuite.ids import new_id
from experiments.evaluators.base import Evaluator as Code
from experiments.evaluators.base import Sample, Verdict
from experiments.evaluators.registry import KINDS
from experiments.models import EvalScore, Evaluator
from experiments.services import planning
from experiments.services.evaluation import Panel, sample_of_run
from tests import factories
from tests.experiments.conftest import wait_for


def attach(experiment, kind, config=None, *, key="m", **scale):
    metric = experiment.org.metrics.filter(key=key).first() or factories.make_metric(
        experiment.org, key, **scale
    )
    return Evaluator.objects.create(
        experiment=experiment, metric=metric, kind=kind, name=kind, config=config or {}
    )


class Looking(Code):
    """Keeps what it was shown."""

    kind = "looking"
    title = description = "Looking"
    config_schema = {"type": "object", "properties": {}}
    seen: list[Sample] = []

    def evaluate(self, sample):
        self.seen.append(sample)
        return Verdict(1.0)


class Failing(Code):
    kind = "failing"
    title = description = "Failing"
    config_schema = {"type": "object", "properties": {}}

    def evaluate(self, sample):
        raise RuntimeError("a bug")


@pytest.fixture
def kinds(monkeypatch):
    Looking.seen = []
    for code in (Looking, Failing):
        monkeypatch.setitem(KINDS, code.kind, code)


def test_an_evaluator_sees_the_answer_the_input_and_the_call(kinds, embedded_worker, experiment, alice):
    experiment.inputs.exclude(key="case_1").delete()
    experiment.inputs.update(metadata={"tier": "gold"})
    experiment.variants.first().delete()
    attach(experiment, "looking")
    attach(experiment, "failing", key="other")
    batch = planning.start_batch(experiment=experiment, author=alice)
    experiment.inputs.update(metadata={"tier": "changed afterwards"})
    wait_for(lambda: type(batch).objects.get(pk=batch.pk).finished_at)
    run = batch.runs.get()
    assert run.state == "succeeded"
    (seen,) = Looking.seen
    assert (seen.output, seen.content, seen.expected) == (run.output, "text 1", "answer 1")
    assert seen.metadata == {"tier": "gold"}
    assert [one.content for one in seen.messages][-1] == "text 1"
    assert seen.latency_ms is not None
    assert (seen.input_tokens, seen.output_tokens) == (run.input_tokens, run.output_tokens)
    again = sample_of_run(run)
    assert again.latency_ms == round(seen.latency_ms)
    for name in ("output", "content", "expected", "metadata", "messages", "input_tokens", "output_tokens"):
        assert getattr(again, name) == getattr(seen, name), name
    assert (again.first_token_ms, again.stop_reason, again.cold_start) == (
        seen.first_token_ms,
        seen.stop_reason,
        seen.cold_start,
    )
    failing = Evaluator.objects.get(kind="failing")
    assert run.evaluation_notes == {str(failing.pk): "The evaluator failed: RuntimeError."}
    assert EvalScore.objects.get(run=run).value == 1


def test_rows_that_are_broken_cost_their_score_alone(db, org):
    experiment = factories.make_experiment(org)
    gone, broken = attach(experiment, "gone"), attach(experiment, "regex", {"pattern": "("})
    bare, fine = attach(experiment, "latency"), attach(experiment, "contains", {"texts": ["yes"]})
    judgement = Panel(experiment).judge(new_id(), Sample(output="yes", latency_ms=1.0))
    assert [score.evaluator for score in judgement.given] == [fine]
    assert judgement.missing.keys() == {str(row.pk) for row in (gone, broken, bare)}
    assert "gone" in judgement.missing[str(gone.pk)]


def test_a_value_off_the_metrics_scale_is_missing_with_the_bounds(db, org):
    experiment = factories.make_experiment(org)
    row = attach(experiment, "contains", {"texts": ["yes"]}, key="style", minimum=1, maximum=5)
    judgement = Panel(experiment).judge(new_id(), Sample(output="no"))
    assert judgement.given == []
    assert judgement.missing == {
        str(
            row.pk
        ): "The value 0 is off the scale. On the metric style this must be at least 1 and at most 5."
    }


def test_an_answer_whose_input_nobody_asked_for_is_missing_and_says_what_to_do(db, org):
    experiment = factories.make_experiment(org)
    row = attach(experiment, "contains", {"texts": ["yes"]})
    assert "evaluate again" in Panel(experiment).judge(new_id(), None).missing[str(row.pk)]
