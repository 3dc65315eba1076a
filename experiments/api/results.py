"""Results of an experiment: what the variants have come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.documents import LIST_ERRORS
from evalsuite.errors import InvalidBody
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
    """Thumbs, of which a cell may have several. `rate`: the share of thumbs up, 0..1, averaged by cell and
    then by input; `low` and `high` are its 95 % interval.
    """

    up = serializers.IntegerField()
    down = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(source="interval.low", allow_null=True)
    high = serializers.FloatField(source="interval.high", allow_null=True)
    method = serializers.CharField(source="interval.method")


class LatencySerializer(serializers.Serializer[results.Latency]):
    """Milliseconds, over the `n` answers that are neither cold starts nor cached."""

    n = serializers.IntegerField()
    coldStarts = serializers.IntegerField(source="cold_starts")
    cached = serializers.IntegerField()
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
    """`n` scores in `cells` answers to `inputs` inputs; `missing` answers have none. The mean is that of the
    inputs, each the mean of its cells, each the mean of its raters; `low` and `high` are its 95 % interval.
    """

    metricId = serializers.UUIDField(source="metric.id")
    metricKey = serializers.CharField(source="metric.key")
    name = serializers.CharField(source="metric.name")
    direction = serializers.CharField(source="metric.direction")
    n = serializers.IntegerField()
    missing = serializers.IntegerField()
    mean = serializers.FloatField(allow_null=True)
    cells = serializers.IntegerField()
    inputs = serializers.IntegerField()
    low = serializers.FloatField(source="interval.low", allow_null=True)
    high = serializers.FloatField(source="interval.high", allow_null=True)
    method = serializers.CharField(source="interval.method")


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
        parameters=[
            OpenApiParameter("batch", str, description="Only the cells of this batch."),
            OpenApiParameter("batchId", str, description="The same.", deprecated=True),
        ],
        responses={200: ResultsSerializer, **LIST_ERRORS},
    )
    def get(self, request: Request, **ids: str) -> Response:
        experiment = self.experiment
        batch = self._batch(request.query_params)
        found = {
            "experimentId": experiment.pk,
            "batchId": batch and batch.pk,
            "variants": results.results_of(experiment, batch=batch),
        }
        return Response(ResultsSerializer(found).data)

    def _batch(self, query: Mapping[str, str]) -> Batch | None:
        named = {query[name] for name in ("batch", "batchId") if query.get(name)}
        if len(named) > 1:
            raise InvalidBody({"batch": ["This is another batch than `batchId`."]})
        batches = Batch.objects.for_org(self.org).filter(experiment=self.experiment)
        return batches.find(named.pop()) if named else None
