"""Results of an experiment: what the variants have come to."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.documents import READ_ERRORS
from experiments.api.base import ExperimentsView
from experiments.models import Batch
from experiments.services import results


class CellsSerializer(serializers.Serializer[Any]):
    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    total = serializers.IntegerField()


class ThumbsSerializer(serializers.Serializer[results.Thumbs]):
    """`rate`: thumbs up among all that were given, 0..1."""

    up = serializers.IntegerField()
    down = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True)


class LatencySerializer(serializers.Serializer[results.Latency]):
    """Milliseconds, over the `n` answers that are no cold starts."""

    n = serializers.IntegerField()
    coldStarts = serializers.IntegerField(source="cold_starts")
    meanMs = serializers.FloatField(source="mean", allow_null=True)
    p50Ms = serializers.FloatField(source="p50", allow_null=True)
    p95Ms = serializers.FloatField(source="p95", allow_null=True)


class TokensSerializer(serializers.Serializer[results.Tokens]):
    """Sums and means over the answers whose provider told them."""

    input = serializers.IntegerField(allow_null=True)
    output = serializers.IntegerField(allow_null=True)
    inputMean = serializers.FloatField(source="input_mean", allow_null=True)
    outputMean = serializers.FloatField(source="output_mean", allow_null=True)


class MetricResultSerializer(serializers.Serializer[results.MetricResult]):
    """`n` scores and their mean; `missing` answers have none."""

    metricId = serializers.UUIDField(source="metric.id")
    metricKey = serializers.CharField(source="metric.key")
    name = serializers.CharField(source="metric.name")
    direction = serializers.CharField(source="metric.direction")
    n = serializers.IntegerField()
    missing = serializers.IntegerField()
    mean = serializers.FloatField(allow_null=True)


class VariantResultSerializer(serializers.Serializer[results.VariantResult]):
    variantId = serializers.UUIDField(source="variant.id")
    name = serializers.CharField(source="variant.name")
    cells = CellsSerializer()
    thumbs = ThumbsSerializer()
    latency = LatencySerializer()
    tokens = TokensSerializer()
    metrics = MetricResultSerializer(many=True)


class ResultsSerializer(serializers.Serializer[Any]):
    experimentId = serializers.UUIDField()
    batchId = serializers.UUIDField(allow_null=True)
    variants = VariantResultSerializer(many=True)


class Results(ExperimentsView):
    @extend_schema(
        operation_id="experiment_results",
        parameters=[OpenApiParameter("batchId", str, description="Only the cells of this batch.")],
        responses={200: ResultsSerializer, **READ_ERRORS},
    )
    def get(self, request: Request, **ids: str) -> Response:
        experiment = self.experiment
        batch_id = request.query_params.get("batchId")
        batch = (
            Batch.objects.for_org(self.org).filter(experiment=experiment).find(batch_id) if batch_id else None
        )
        found = {
            "experimentId": experiment.pk,
            "batchId": batch and batch.pk,
            "variants": results.results_of(experiment, batch=batch),
        }
        return Response(ResultsSerializer(found).data)
