"""Metric definitions: the qualities that an org scores."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.fields import LONGEST_NOTE, NumberField, OptionalText
from evalsuite.openapi import envelope
from experiments.api.base import DetailView, ListView
from experiments.api.scores import METRIC_KEY
from experiments.models import EvalMetricDefinition
from experiments.services import authoring

DIRECTIONS = EvalMetricDefinition.Direction.values


class MetricChanges(StrictSerializer):
    """Everything but the key: clients name a metric by it."""

    name = StrictCharField(max_length=128, required=False)
    description = OptionalText(max_length=LONGEST_NOTE)
    scale = StrictCharField(max_length=64, required=False)
    minimum = NumberField(required=False, allow_null=True)
    maximum = NumberField(required=False, allow_null=True)
    step = NumberField(required=False, allow_null=True)
    direction = serializers.ChoiceField(choices=DIRECTIONS, required=False)

    def validate_step(self, value: float | None) -> float | None:
        if value is not None and value <= 0:
            raise serializers.ValidationError("This must be greater than 0.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        low, high = (attrs.get(name, getattr(self.instance, name, None)) for name in ("minimum", "maximum"))
        if low is not None and high is not None and low >= high:
            raise serializers.ValidationError({"maximum": ["This must be greater than the minimum."]})
        return attrs


class MetricBody(MetricChanges):
    key = StrictCharField(max_length=64, trim_whitespace=False, validators=[METRIC_KEY])


class MetricSerializer(serializers.Serializer[EvalMetricDefinition]):
    id = serializers.UUIDField()
    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    scale = serializers.CharField()
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    step = serializers.FloatField(allow_null=True)
    direction = serializers.ChoiceField(choices=DIRECTIONS)
    createdAt = serializers.DateTimeField(source="created_at")


@extend_schema_view(get=lists("metric", "metrics", MetricSerializer))
class MetricList(ListView):
    list_key = "metrics"
    serializer_class = MetricSerializer

    def get_queryset(self) -> QuerySet[EvalMetricDefinition]:
        return EvalMetricDefinition.objects.for_org(self.org)

    @creates("metric", MetricBody, envelope("metric", MetricSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        metric = authoring.create_metric(org=self.org, author=self.user, **self.checked(MetricBody))
        return Response({"metric": MetricSerializer(metric).data}, status=201)


@extend_schema_view(**describes("metric", "metric", MetricSerializer, MetricChanges))
class MetricDetail(DetailView):
    key = "metric"
    answer = MetricSerializer
    changes_body = MetricChanges

    def find(self) -> Any:
        return EvalMetricDefinition.objects.for_org(self.org).find(self.kwargs["metric_id"])
