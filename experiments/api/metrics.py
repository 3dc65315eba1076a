"""Metric definitions: the qualities that an org scores."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.fields import LONGEST_NOTE, NumberField, ObjectField, OptionalText
from evalsuite.openapi import NOT_BLANK, envelope
from experiments.api.base import DetailView, ListView
from experiments.models import METRIC_KEY, EvalMetricDefinition
from experiments.services import metric_definitions

DIRECTIONS = EvalMetricDefinition.Direction.values


@extend_schema_field(
    {
        "type": "object",
        "propertyNames": {"pattern": f"^{metric_definitions.PLAIN_NUMBER.pattern}$"},
        "additionalProperties": {
            "type": "string",
            "maxLength": metric_definitions.LONGEST_LABEL,
            "pattern": NOT_BLANK,
        },
        "maxProperties": metric_definitions.MOST_LABELS,
    }
)
class LabelsField(ObjectField):
    """By value: its words."""


@extend_schema_field({"type": "number", "exclusiveMinimum": 0})
class StepField(NumberField):
    """From one value of the scale to the next."""


class MetricChanges(StrictSerializer):
    """Everything but the key: clients name a metric by it."""

    name = StrictCharField(max_length=128, required=False)
    description = OptionalText(max_length=LONGEST_NOTE)
    scale = StrictCharField(max_length=64, required=False)
    minimum = NumberField(required=False, allow_null=True)
    maximum = NumberField(required=False, allow_null=True)
    step = StepField(required=False, allow_null=True)
    direction = serializers.ChoiceField(choices=DIRECTIONS, required=False)

    labels = LabelsField(
        required=False, help_text='Words for values of the scale, such as `{"1": "useless", "5": "perfect"}`.'
    )


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
    labels = LabelsField()
    createdAt = serializers.DateTimeField(source="created_at")


@extend_schema_view(get=lists("metric", "metrics", MetricSerializer))
class MetricList(ListView):
    list_key = "metrics"
    serializer_class = MetricSerializer

    def get_queryset(self) -> QuerySet[EvalMetricDefinition]:
        return EvalMetricDefinition.objects.for_org(self.org)

    @creates("metric", MetricBody, envelope("metric", MetricSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        metric = metric_definitions.create_metric(org=self.org, author=self.user, **self.checked(MetricBody))
        return Response({"metric": MetricSerializer(metric).data}, status=201)


@extend_schema_view(**describes("metric", "metric", MetricSerializer, MetricChanges))
class MetricDetail(DetailView):
    key = "metric"
    answer = MetricSerializer
    changes_body = MetricChanges

    def find(self) -> Any:
        metrics = EvalMetricDefinition.objects.for_org(self.org).select_related("org")
        return metrics.find(self.kwargs["metric_id"])

    def change(self, row: Any, given: dict[str, Any]) -> None:
        metric_definitions.update_metric(row, actor=self.user, **given)
