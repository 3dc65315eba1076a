"""Evaluators: automatic raters attached to an experiment."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictBooleanField, StrictCharField, StrictSerializer
from evalsuite.documents import READ_ERRORS, creates, describes, lists
from evalsuite.fields import ObjectField
from evalsuite.openapi import envelope
from experiments.api.base import DetailView, ExperimentsView, ListView
from experiments.evaluators.registry import ALL, KINDS
from experiments.models import METRIC_KEY, Evaluator
from experiments.services import authoring


class EvaluatorChanges(StrictSerializer):
    """Everything but the kind. A metric that does not exist yet is created."""

    name = StrictCharField(max_length=128, required=False)
    metricKey = StrictCharField(
        source="metric_key", max_length=64, trim_whitespace=False, validators=[METRIC_KEY]
    )
    config = ObjectField(required=False)
    enabled = StrictBooleanField(required=False)


class EvaluatorBody(EvaluatorChanges):
    kind = serializers.ChoiceField(choices=sorted(KINDS))


class EvaluatorSerializer(serializers.Serializer[Evaluator]):
    id = serializers.UUIDField()
    experimentId = serializers.UUIDField(source="experiment_id")
    kind = serializers.CharField()
    name = serializers.CharField()
    metricId = serializers.UUIDField(source="metric_id")
    metricKey = serializers.CharField(source="metric.key")
    config = ObjectField()
    enabled = serializers.BooleanField()
    createdAt = serializers.DateTimeField(source="created_at")


class KindOfEvaluatorSerializer(serializers.Serializer[Any]):
    """One kind, with the JSON schema of its settings: titles and descriptions in it are for forms."""

    kind = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    needsCall = serializers.BooleanField(
        source="needs_call", help_text="It calls a model, which costs tokens; its scores come later."
    )
    configSchema = ObjectField(source="config_schema")


class KindsOfEvaluatorsSerializer(serializers.Serializer[Any]):
    evaluatorKinds = KindOfEvaluatorSerializer(many=True)


class EvaluatorKinds(ExperimentsView):
    @extend_schema(
        operation_id="evaluator_kind_list", responses={200: KindsOfEvaluatorsSerializer, **READ_ERRORS}
    )
    def get(self, request: Request, **ids: str) -> Response:
        return Response({"evaluatorKinds": KindOfEvaluatorSerializer(ALL, many=True).data})


@extend_schema_view(get=lists("evaluator", "evaluators", EvaluatorSerializer))
class EvaluatorList(ListView):
    list_key = "evaluators"
    serializer_class = EvaluatorSerializer

    def get_queryset(self) -> QuerySet[Evaluator]:
        return self.experiment.evaluators.select_related("metric")

    @creates("evaluator", EvaluatorBody, envelope("evaluator", EvaluatorSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        experiment = self.experiment
        fields = self.checked(EvaluatorBody)
        evaluator = authoring.create_evaluator(experiment=experiment, author=self.user, **fields)
        return Response({"evaluator": EvaluatorSerializer(evaluator).data}, status=201)


@extend_schema_view(**describes("evaluator", "evaluator", EvaluatorSerializer, EvaluatorChanges))
class EvaluatorDetail(DetailView):
    key = "evaluator"
    answer = EvaluatorSerializer
    changes_body = EvaluatorChanges

    def find(self) -> Any:
        rows = Evaluator.objects.for_org(self.org).filter(experiment=self.experiment)
        return rows.select_related("metric", "experiment__org").find(self.kwargs["evaluator_id"])

    def change(self, row: Any, given: dict[str, Any]) -> None:
        authoring.update_evaluator(row, actor=self.user, **given)
