"""Runs: the cells of an experiment, and the thumbs that people give them."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictBooleanField, StrictCharField, StrictSerializer
from evalsuite.documents import acts, describes, lists
from evalsuite.fields import LONGEST_NOTE, Moment, ObjectField, PersonSerializer, RowSerializer, TextOrNull
from evalsuite.openapi import ID, OK
from experiments.api.base import RATE, DetailView, ExperimentsView, ListView
from experiments.api.scores import ScoreSerializer
from experiments.models import ExperimentRun, RunAttempt
from experiments.services import authoring, feedback

# Only the answer about a single run has these; in a list nobody pays for them.
LARGE = ("messages", "parameters", "snapshot", "thinking", "tool_calls", "evaluation_notes")
MOST_THUMBS = 200  # that one run is told with, the newest
THUMBS = {"true": True, "false": False, "null": None}


class TallySerializer(RowSerializer):
    """Everybody's thumbs. `mine`: the caller's own, null where there is none."""

    up = serializers.IntegerField()
    down = serializers.IntegerField()
    mine = serializers.BooleanField(allow_null=True)


class ThumbSerializer(serializers.Serializer[Any]):
    """One person's thumb; `createdAt` is when it was set."""

    rater = PersonSerializer()
    up = serializers.BooleanField()
    createdAt = Moment(source="created_at")


class RunSerializer(RowSerializer):
    """One cell, as lists show it. Latency in milliseconds; null: not told, or not yet."""

    id = serializers.UUIDField()
    experimentId = serializers.UUIDField(source="experiment_id")
    batchId = serializers.UUIDField(source="batch_id")
    variantId = serializers.UUIDField(source="variant_id")
    inputId = serializers.UUIDField(source="input_id")
    repeat = serializers.IntegerField()
    state = serializers.ChoiceField(choices=ExperimentRun.State.values)
    modelProvider = serializers.CharField(source="model_provider")
    modelName = serializers.CharField(source="model_name")
    temperature = serializers.FloatField()
    topP = serializers.FloatField(source="top_p")
    maxTokens = serializers.IntegerField(source="max_tokens", allow_null=True)
    output = serializers.CharField()
    errorCode = TextOrNull(source="error_code")
    errorMessage = TextOrNull(source="error_message")
    latencyMs = serializers.IntegerField(source="latency_ms", allow_null=True)
    inputTokens = serializers.IntegerField(source="input_tokens", allow_null=True)
    outputTokens = serializers.IntegerField(source="output_tokens", allow_null=True)
    cached = serializers.BooleanField(
        source="is_cached", help_text="The answer of an earlier, equal request; its latency is kept apart."
    )
    cachedLatencyMs = serializers.IntegerField(source="cached_latency_ms", allow_null=True)
    coldStart = serializers.BooleanField(source="cold_start")
    mayBeCut = serializers.BooleanField(source="may_be_cut")
    thumbsUp = serializers.BooleanField(
        source="thumbs_up", allow_null=True, help_text="The thumb that was set last, by anybody."
    )
    thumbs = TallySerializer(source="tally")
    feedbackNote = serializers.CharField(source="feedback_note", allow_null=True)
    createdAt = Moment(source="created_at")
    startedAt = Moment(source="started_at", allow_null=True)
    finishedAt = Moment(source="finished_at", allow_null=True)


class TimingsSerializer(serializers.Serializer[ExperimentRun]):
    """Where the time went, in milliseconds. Null: the provider did not tell."""

    queueMs = serializers.IntegerField(source="queue_ms", allow_null=True)
    firstTokenMs = serializers.FloatField(source="first_token_ms", allow_null=True)
    providerWaitMs = serializers.FloatField(source="provider_wait_ms", allow_null=True)
    loadMs = serializers.FloatField(source="load_ms", allow_null=True)
    promptMs = serializers.FloatField(source="prompt_ms", allow_null=True)
    decodeMs = serializers.FloatField(source="decode_ms", allow_null=True)
    tokensPerSecond = serializers.FloatField(source="tokens_per_second", allow_null=True)


class AttemptSerializer(serializers.Serializer[RunAttempt]):
    """One call to the provider. No outcome: it is in the air."""

    number = serializers.IntegerField()
    startedAt = Moment(source="started_at")
    endedAt = Moment(source="ended_at", allow_null=True)
    outcome = TextOrNull()
    errorCode = TextOrNull(source="error_code")
    errorMessage = TextOrNull(source="error_message")


class MessageSerializer(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField()


class RunDetailSerializer(RunSerializer):
    """Everything: what was sent, what came, where the time went, and what people think of it."""

    modelDigest = TextOrNull(source="model_digest")
    messages = MessageSerializer(many=True)
    parameters = ObjectField()
    snapshot = ObjectField()
    thinking = TextOrNull()
    toolCalls = serializers.ListField(source="tool_calls", child=ObjectField())
    stopReason = TextOrNull(source="stop_reason")
    timings = TimingsSerializer(source="*")
    evaluationNotes = ObjectField(source="evaluation_notes")
    attempts = AttemptSerializer(many=True)
    scores = ScoreSerializer(many=True)
    thumbsGiven = serializers.SerializerMethodField()

    @extend_schema_field(ThumbSerializer(many=True))
    def get_thumbsGiven(self, run: ExperimentRun) -> Any:
        newest = run.thumbs.select_related("rater")[:MOST_THUMBS]
        return ThumbSerializer(newest, many=True).data


class RunFilters(filters.FilterSet):  # type: ignore[misc]
    batchId = filters.UUIDFilter(field_name="batch_id")
    variantId = filters.UUIDFilter(field_name="variant_id")
    inputId = filters.UUIDFilter(field_name="input_id")
    state = filters.MultipleChoiceFilter(choices=ExperimentRun.State.choices)
    thumbsUp = filters.MultipleChoiceFilter(choices=[(word, word) for word in THUMBS], method="filter_thumbs")

    def filter_thumbs(self, rows: QuerySet[ExperimentRun], name: str, words: list[str]) -> Any:
        wanted = Q()
        for word in words:
            wanted |= Q(thumbs_up=THUMBS[word])
        return rows.filter(wanted)


def _choices(name: str, words: list[str]) -> OpenApiParameter:
    schema = {"type": "array", "items": {"type": "string", "enum": words}}
    return OpenApiParameter(name, schema, explode=True, description="One or more.")


FILTER_PARAMETERS = (
    *(OpenApiParameter(name, ID) for name in ("batchId", "variantId", "inputId")),
    _choices("state", ExperimentRun.State.values),
    _choices("thumbsUp", list(THUMBS)),
)


@extend_schema_view(get=lists("run", "runs", RunSerializer, *FILTER_PARAMETERS))
class RunList(ListView):
    list_key = "runs"
    serializer_class = RunSerializer
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = RunFilters

    def get_queryset(self) -> QuerySet[ExperimentRun]:
        return self.experiment.runs.defer(*LARGE).with_tally(self.user)


@extend_schema_view(**describes("run", "run", RunDetailSerializer, None))
class RunDetail(DetailView):
    key = "run"
    answer = RunDetailSerializer
    http_method_names = ("get", "head", "options", "delete")

    def find(self) -> Any:
        rows = ExperimentRun.objects.for_org(self.org).select_related("experiment__org")
        rows = rows.prefetch_related("attempts", "scores__metric", "scores__rater")
        return rows.with_tally(self.user).find(self.kwargs["run_id"])

    def remove(self, row: Any) -> None:
        authoring.delete_run(row, actor=self.user)


class FeedbackBody(StrictSerializer):
    """What is left out stays as it is; null clears."""

    thumbsUp = StrictBooleanField(source="thumbs_up", required=False, allow_null=True)
    note = StrictCharField(
        source="feedback_note",
        required=False,
        allow_null=True,
        allow_blank=True,
        trim_whitespace=False,
        max_length=LONGEST_NOTE,
    )


class Feedback(ExperimentsView):
    required_permission = RATE

    @acts("run_feedback", FeedbackBody, {200: OK})
    def post(self, request: Request, **ids: str) -> Response:
        run = ExperimentRun.objects.for_org(self.org).defer(*LARGE, "output").find(ids["run_id"])
        given = self.checked(FeedbackBody)
        feedback.give_feedback(run, org=self.org, actor=self.user, given=given)
        return Response({"ok": True})
