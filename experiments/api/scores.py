"""Scores: the numbers that people and evaluators give to an answer."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.functional import cached_property
from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.fields import LONGEST_NOTE, NumberField, PersonSerializer, TextOrNull
from evalsuite.openapi import envelope
from evalsuite.orgs.permissions import Permission
from experiments.api.base import RATE, READ, DetailView, ExperimentsView, ListView
from experiments.models import METRIC_KEY, EvalScore, ExperimentRun
from experiments.services import feedback


class ScoreChanges(StrictSerializer):
    value = NumberField()
    note = StrictCharField(
        required=False, allow_null=True, allow_blank=True, trim_whitespace=False, max_length=LONGEST_NOTE
    )


class ScoreBody(ScoreChanges):
    metricKey = StrictCharField(
        source="metric_key", max_length=64, trim_whitespace=False, validators=[METRIC_KEY]
    )


class ScoreSerializer(serializers.Serializer[EvalScore]):
    """Given by a person (`rater`) or by an evaluator; the other is null."""

    id = serializers.UUIDField()
    runId = serializers.UUIDField(source="run_id")
    metricId = serializers.UUIDField(source="metric_id")
    metricKey = serializers.CharField(source="metric.key")
    value = serializers.FloatField()
    valueLabel = TextOrNull(source="label", help_text="The metric's word for this value, if it has one.")
    note = serializers.CharField(allow_null=True)
    rater = PersonSerializer(allow_null=True)
    evaluatorId = serializers.UUIDField(source="evaluator_id", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at")


class ScoresOfRun(ExperimentsView):
    required_permission: ClassVar[Permission | dict[str, Permission]] = {
        "GET": READ,
        "POST": RATE,
        "PATCH": RATE,
        "DELETE": RATE,
    }

    @cached_property
    def run(self) -> ExperimentRun:
        """The one in the URL. Raises NotFound."""
        return ExperimentRun.objects.for_org(self.org).only("id", "state").find(self.kwargs["run_id"])

    def scores(self) -> Any:
        rows = EvalScore.objects.for_org(self.org).filter(run=self.run)
        return rows.select_related("metric", "rater")


@extend_schema_view(get=lists("score", "scores", ScoreSerializer))
class ScoreList(ScoresOfRun, ListView):
    list_key = "scores"
    serializer_class = ScoreSerializer

    def get_queryset(self) -> QuerySet[EvalScore]:
        scores: QuerySet[EvalScore] = self.scores()
        return scores

    @creates("score", ScoreBody, envelope("score", ScoreSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        run = self.run
        body = {"note": None, **self.checked(ScoreBody)}
        score = feedback.give_score(run, org=self.org, rater=self.user, **body)
        return Response({"score": ScoreSerializer(score).data}, status=201)


@extend_schema_view(**describes("score", "score", ScoreSerializer, ScoreChanges))
class ScoreDetail(ScoresOfRun, DetailView):
    key = "score"
    answer = ScoreSerializer
    changes_body = ScoreChanges

    def find(self) -> Any:
        return self.scores().find(self.kwargs["score_id"])

    def change(self, row: Any, given: dict[str, Any]) -> None:
        feedback.change_score(row, org=self.org, actor=self.user, given=given)

    def remove(self, row: Any) -> None:
        feedback.delete_score(row, org=self.org, actor=self.user)
