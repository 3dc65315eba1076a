"""Evaluate again: the evaluators look once more at answers that are there."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictBooleanField, StrictCharField, StrictSerializer
from evalsuite.documents import acts
from evalsuite.errors import NotFound
from evalsuite.fields import LONGEST_ID
from evalsuite.ids import parse_id
from experiments.api.base import ExperimentsView
from experiments.api.batches import BatchView
from experiments.services.evaluating import evaluate_again

MOST_EVALUATORS = 1_000


class EvaluateBody(StrictSerializer):
    """All evaluators that are switched on where none are named."""

    evaluatorIds = serializers.ListField(
        child=StrictCharField(max_length=LONGEST_ID),
        source="evaluator_ids",
        required=False,
        allow_null=True,
        allow_empty=False,
        max_length=MOST_EVALUATORS,
    )
    onlyMissing = StrictBooleanField(
        source="only_missing",
        required=False,
        help_text="Only where an evaluator has given no score, and is not about to.",
    )

    def validate_evaluatorIds(self, ids: list[str] | None) -> Any:
        if ids is None:
            return None
        impossible = [text for text in ids if parse_id(text) is None]
        if impossible:
            raise NotFound("evaluator", ids=impossible)
        return [parse_id(text) for text in ids]


class QueuedSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    evaluations = serializers.IntegerField(help_text="How many were queued; workers take them from there.")


class EvaluateBatch(BatchView):
    @acts("batch_evaluate", EvaluateBody, {202: QueuedSerializer})
    def post(self, request: Request, **ids: str) -> Response:
        """Of a batch that has ended. No tested model is called; the evaluators' earlier scores give way."""
        batch = self.find()
        wanted = self.checked(EvaluateBody)
        count = evaluate_again(batch.experiment, batch=batch, actor=self.user, **wanted)
        return Response({"ok": True, "evaluations": count}, status=202)


class EvaluateExperiment(ExperimentsView):
    @acts("experiment_evaluate", EvaluateBody, {202: QueuedSerializer})
    def post(self, request: Request, **ids: str) -> Response:
        """All batches of the experiment that have ended, as `batch_evaluate`."""
        wanted = self.checked(EvaluateBody)
        count = evaluate_again(self.experiment, actor=self.user, **wanted)
        return Response({"ok": True, "evaluations": count}, status=202)
