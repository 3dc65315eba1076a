"""Batches: press Run, watch, cancel, and run again what failed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictIntegerField, StrictSerializer
from evalsuite.documents import READ_ERRORS, WRITE_ERRORS, acts, lists
from evalsuite.errors import NotFound
from evalsuite.fields import LONGEST_ID, PersonSerializer
from evalsuite.ids import parse_id
from evalsuite.openapi import envelope, errors
from experiments.api.base import ExperimentsView, ListView
from experiments.models import Batch, ExperimentRun
from experiments.services import planning, steering

RESPOND_ASYNC = "respond-async"
MOST_IDS = 10_000


def _ids(source: str) -> serializers.ListField:
    return serializers.ListField(
        child=StrictCharField(max_length=LONGEST_ID),
        source=source,
        required=False,
        allow_null=True,
        allow_empty=False,
        max_length=MOST_IDS,
    )


class RunBody(StrictSerializer):
    """Which cells; all inputs and all variants where nothing is said."""

    inputIds = _ids("input_ids")
    variantIds = _ids("variant_ids")
    repeats = StrictIntegerField(required=False, min_value=1, max_value=20)
    parallel = StrictIntegerField(required=False, allow_null=True, min_value=1, max_value=1_024)

    def validate_inputIds(self, ids: list[str] | None) -> Any:
        return _parsed(ids, "input")

    def validate_variantIds(self, ids: list[str] | None) -> Any:
        return _parsed(ids, "variant")


def _parsed(ids: list[str] | None, kind: str) -> Any:
    if ids is None:
        return None
    impossible = [text for text in ids if parse_id(text) is None]
    if impossible:
        raise NotFound(kind, ids=impossible)
    return [parse_id(text) for text in ids]


class StartedRunSerializer(serializers.Serializer[ExperimentRun]):
    runId = serializers.UUIDField(source="id")
    variantId = serializers.UUIDField(source="variant_id")
    inputId = serializers.UUIDField(source="input_id")


class StartedSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    runs = StartedRunSerializer(many=True)


class CountsSerializer(serializers.Serializer[Batch]):
    """Cells by state."""

    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()


class BatchSerializer(serializers.Serializer[Batch]):
    """One press of Run. The duration, in milliseconds, is null until it has ended."""

    id = serializers.UUIDField()
    experimentId = serializers.UUIDField(source="experiment_id")
    author = PersonSerializer(allow_null=True)
    state = serializers.ChoiceField(choices=Batch.State.values)
    parallel = serializers.IntegerField()
    repeats = serializers.IntegerField()
    total = serializers.IntegerField()
    counts = CountsSerializer(source="*")
    createdAt = serializers.DateTimeField(source="created_at")
    startedAt = serializers.DateTimeField(source="started_at", allow_null=True)
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)
    durationMs = serializers.SerializerMethodField(method_name="duration_ms")

    def duration_ms(self, batch: Batch) -> int | None:
        if batch.finished_at is None:
            return None
        return round((batch.finished_at - (batch.started_at or batch.created_at)).total_seconds() * 1000)


class Run(ExperimentsView):
    @extend_schema(
        operation_id="experiment_run",
        request=RunBody,
        parameters=[
            OpenApiParameter(
                "Prefer", str, OpenApiParameter.HEADER, description=f"`{RESPOND_ASYNC}`: answer at once, 202."
            )
        ],
        responses={
            200: OpenApiResponse(StartedSerializer, "All cells are closed."),
            202: OpenApiResponse(StartedSerializer, "Under way; `Location` and `Link` lead to the progress."),
            **WRITE_ERRORS,
            **errors(429),
        },
    )
    def post(self, request: Request, **ids: str) -> Response:
        experiment = self.experiment
        chosen = self.checked(RunBody)
        batch = planning.start_batch(experiment=experiment, author=self.user, **chosen)
        hurried = _prefers_async(request)
        wait_s = 0 if hurried or batch.total > settings.RUN_SYNC_CELLS else settings.RUN_SYNC_WAIT
        finished = wait_s > 0 and planning.wait_until_finished(batch, timeout_s=wait_s)
        runs = batch.runs.order_by("position").only("id", "variant_id", "input_id")
        progress = reverse("api:batch-detail", args=[self.org.pk, batch.pk])
        headers = {"Location": progress, "Link": f'<{progress}>; rel="progress"'}
        if hurried:
            headers["Preference-Applied"] = RESPOND_ASYNC
        body = StartedSerializer({"ok": True, "runs": runs}).data
        return Response(body, status=200 if finished else 202, headers=headers)


def _prefers_async(request: Request) -> bool:
    """RFC 7240: preferences are separated by commas, each with parameters after a semicolon."""
    preferences = request.headers.get("Prefer", "").split(",")
    return any(text.split(";")[0].strip().lower() == RESPOND_ASYNC for text in preferences)


@extend_schema_view(get=lists("batch", "batches", BatchSerializer))
class BatchList(ListView):
    list_key = "batches"
    serializer_class = BatchSerializer

    def get_queryset(self) -> QuerySet[Batch]:
        rows = Batch.objects.for_org(self.org).filter(experiment=self.experiment)
        return rows.with_progress().select_related("author")


class BatchView(ExperimentsView):
    def find(self) -> Any:
        """The batch in the URL with its progress. Raises NotFound."""
        rows = Batch.objects.for_org(self.org).with_progress()
        return rows.select_related("author", "experiment__org").find(self.kwargs["batch_id"])

    def respond(self) -> Response:
        return Response({"batch": BatchSerializer(self.find()).data})


BATCH = envelope("batch", BatchSerializer)


class BatchDetail(BatchView):
    @extend_schema(operation_id="batch_read", responses={200: BATCH, **READ_ERRORS})
    def get(self, request: Request, **ids: str) -> Response:
        return self.respond()


class BatchCancel(BatchView):
    @acts("batch_cancel", None, {200: BATCH})
    def post(self, request: Request, **ids: str) -> Response:
        steering.cancel(self.find(), actor=self.user)
        return self.respond()


class BatchRetry(BatchView):
    @acts("batch_retry", None, {200: BATCH})
    def post(self, request: Request, **ids: str) -> Response:
        steering.retry_failed(self.find(), actor=self.user)
        return self.respond()
