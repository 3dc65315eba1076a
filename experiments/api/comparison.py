"""Two variants, or two batches, side by side: what the difference is, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.documents import LIST_ERRORS
from evalsuite.errors import InvalidBody
from experiments.api.base import ExperimentsView
from experiments.models import Batch, EvalMetricDefinition, ExperimentVariant
from experiments.services import comparison, wording
from experiments.services.comparison import Call, Comparison, Side

SIDES = ("baseline", "candidate")
MOST_METRICS = 50
LONGEST_NUMBER = 64  # characters


class SideSerializer(serializers.Serializer[Side]):
    variantId = serializers.UUIDField(source="variant.id")
    name = serializers.CharField(source="variant.name")
    batchId = serializers.UUIDField(source="batch.id", allow_null=True, default=None, help_text="Null: all.")


class ComparisonSerializer(serializers.Serializer[Comparison]):
    """The candidate against the baseline on one metric, paired by input; means over the shared inputs."""

    metricKey = serializers.CharField(source="metric_key")
    name = serializers.CharField(source="metric_name")
    direction = serializers.ChoiceField(choices=EvalMetricDefinition.Direction.values)
    call = serializers.ChoiceField(choices=Call.values, help_text="The verdict on the candidate.")
    words = serializers.SerializerMethodField(help_text="The verdict and what it rests on, in plain text.")
    inputsNeeded = serializers.IntegerField(
        source="inputs_needed",
        allow_null=True,
        help_text="For `unsure`: about so many more inputs would settle it; null where that is not known.",
    )
    margin = serializers.FloatField(help_text="Differences up to it do not matter.")
    pairs = serializers.IntegerField(help_text="Inputs with a value on both sides.")
    onlyBaseline = serializers.IntegerField(source="only_baseline", help_text="Inputs left out, on one side.")
    onlyCandidate = serializers.IntegerField(source="only_candidate", help_text="And on the other.")
    baselineMean = serializers.FloatField(source="baseline_mean", allow_null=True)
    candidateMean = serializers.FloatField(source="candidate_mean", allow_null=True)
    difference = serializers.FloatField(allow_null=True, help_text="Candidate - baseline.")
    low = serializers.FloatField(allow_null=True, help_text="The 95 % interval of the difference begins here")
    high = serializers.FloatField(allow_null=True, help_text="and ends here.")
    intervalMethod = serializers.CharField(source="interval_method")
    wins = serializers.IntegerField(help_text="Inputs on which the candidate did better.")
    losses = serializers.IntegerField()
    ties = serializers.IntegerField()
    pValue = serializers.FloatField(source="p_value", allow_null=True)
    adjustedP = serializers.FloatField(
        source="adjusted_p", allow_null=True, help_text="By Holm, over as many `comparisons` as there are."
    )
    comparisons = serializers.IntegerField()
    method = serializers.CharField(help_text="Of the p-value.")
    effectSize = serializers.FloatField(source="effect_size", allow_null=True)
    effectName = serializers.CharField(source="effect_name")

    def get_words(self, found: Comparison) -> str:
        return wording.sentence(found)


class ComparisonsSerializer(serializers.Serializer[Any]):
    """A comparison for each metric that was named, else for each that has values."""

    experimentId = serializers.UUIDField()
    baseline = SideSerializer()
    candidate = SideSerializer()
    comparisons = ComparisonSerializer(many=True)


A_TEXT = {"type": "string", "minLength": 1}
PARAMETERS = [
    OpenApiParameter("baseline", A_TEXT, required=True, description="The id of a variant."),
    OpenApiParameter(
        "candidate",
        A_TEXT,
        required=True,
        description="The id of a variant: the same with other batches, or another one.",
    ),
    OpenApiParameter(
        "metric",
        str,
        many=True,
        description="The key of a metric, or `thumbs`, `latency` (without cold starts and cached answers) or "
        "`tokens` (of the output); may be given several times. Left out: all of them. The p-values of all "
        "that are compared are adjusted by Holm's method.",
    ),
    OpenApiParameter("batch", str, description="Only the cells of this batch, on both sides."),
    OpenApiParameter("baselineBatch", str, description="Only the cells of this batch, for the baseline."),
    OpenApiParameter("candidateBatch", str, description="Only the cells of this batch, for the candidate."),
    OpenApiParameter(
        "margin",
        {"type": "number", "minimum": 0, "default": 0},
        description="Differences up to it do not matter, in the metric's own unit. Without `metric` it is "
        "that of metrics and thumbs, while latency and tokens have none.",
    ),
]


class ExperimentComparison(ExperimentsView):
    @extend_schema(
        operation_id="experiment_comparison",
        description="Paired by input: repeats and raters are averaged first, inputs that only one side has "
        "are left out and counted. An input whose content was changed between batches is not the same one.",
        parameters=PARAMETERS,
        responses={200: ComparisonsSerializer, **LIST_ERRORS},
    )
    def get(self, request: Request, **ids: str) -> Response:
        query = request.query_params
        margin = _margin(query.get("margin") or "0")
        _require_clear(query)
        sides = {name: self._side(query, name) for name in SIDES}
        keys = [key for key in query.getlist("metric") if key]
        if len(keys) > MOST_METRICS:
            raise InvalidBody({"metric": [f"At most {MOST_METRICS} metrics can be compared at once."]})
        found = comparison.compare_metrics(
            self.experiment,
            baseline=sides["baseline"],
            candidate=sides["candidate"],
            margin=margin,
            metric_keys=keys,
        )
        answer = {"experimentId": self.experiment.pk, **sides, "comparisons": found}
        return Response(ComparisonsSerializer(answer).data)

    def _side(self, query: Mapping[str, str], name: str) -> Side:
        variants = ExperimentVariant.objects.for_org(self.org).filter(experiment=self.experiment)
        variant = variants.find(query[name])
        batches = Batch.objects.for_org(self.org).filter(experiment=self.experiment)
        batch_id = query.get(f"{name}Batch") or query.get("batch")
        return Side(variant, batches.find(batch_id) if batch_id else None)


def _require_clear(query: Mapping[str, str]) -> None:
    wrong = {name: ["This must be the id of a variant."] for name in SIDES if not query.get(name)}
    if query.get("batch"):
        twice = [f"{name}Batch" for name in SIDES if query.get(f"{name}Batch")]
        wrong |= {name: ["This cannot be given together with `batch`."] for name in twice}
    if wrong:
        raise InvalidBody(wrong)


def _margin(text: str) -> float:
    """A number; that it is sound is for the service to say."""
    try:
        return float(text[:LONGEST_NUMBER])
    except ValueError:
        return math.nan
