"""Batches: press Run, watch, cancel, and run again what failed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite import wire
from evalsuite.api import StrictBooleanField, StrictCharField, StrictIntegerField, StrictSerializer
from evalsuite.documents import READ_ERRORS, WRITE_ERRORS, acts, lists
from evalsuite.errors import InvalidBody, NotFound
from evalsuite.fields import LONGEST_ID, Moment, PersonSerializer, RowSerializer, TextOrNull
from evalsuite.ids import parse_id
from evalsuite.openapi import envelope, errors
from experiments.api.base import READ, ExperimentsView, ListView
from experiments.models import Batch
from experiments.services import estimates, planning, steering
from experiments.services.idempotency import HEADER, Once

RESPOND_ASYNC = "respond-async"
MOST_IDS = 10_000
MOST_TOKENS = 10**15
LONGEST_KEY = 255
PRINTABLE = "^[ -~]*[!-~][ -~]*$"  # ASCII; blanks around the value of a header are none of it


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
    fillGaps = StrictBooleanField(
        source="fill_gaps",
        required=False,
        help_text="Only cells without an answer to what would be sent now.",
    )
    useCache = StrictBooleanField(
        source="use_cache",
        required=False,
        help_text="Take over equal earlier answers, where a fixed seed or temperature 0 decides them.",
    )
    atMostOnce = StrictBooleanField(
        source="at_most_once",
        required=False,
        help_text="A call that may have reached the model is never made again by itself.",
    )
    tokenBudget = StrictIntegerField(
        source="token_budget",
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MOST_TOKENS,
        help_text="The batch pauses when its calls have used so many tokens.",
    )

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


class StartedRunSerializer(RowSerializer):
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


class EvaluationCountsSerializer(serializers.Serializer[Batch]):
    """Evaluations that were queued for the batch's answers. The batch ends without waiting for them."""

    pending = serializers.IntegerField(source="evaluations_pending")
    done = serializers.IntegerField(source="evaluations_done", help_text="With a score.")
    missing = serializers.IntegerField(
        source="evaluations_missing", help_text="Without one: `evaluationNotes` of the run says why."
    )


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
    evaluations = EvaluationCountsSerializer(source="*")
    atMostOnce = serializers.BooleanField(source="at_most_once")
    useCache = serializers.BooleanField(source="use_cache")
    tokenBudget = serializers.IntegerField(source="token_budget", allow_null=True)
    tokens = serializers.IntegerField(help_text="Used by its recorded calls so far.")
    pausedReason = serializers.SerializerMethodField(method_name="paused_reason")
    pausedNote = TextOrNull(source="paused_note")
    resumeAt = Moment(source="resume_at", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at")
    startedAt = serializers.DateTimeField(source="started_at", allow_null=True)
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)
    durationMs = serializers.SerializerMethodField(method_name="duration_ms")

    @extend_schema_field({"type": ["string", "null"], "enum": [*Batch.PausedReason.values, None]})
    def paused_reason(self, batch: Batch) -> str | None:
        return batch.paused_reason or None

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
            ),
            OpenApiParameter(
                HEADER,
                {"type": "string", "maxLength": LONGEST_KEY, "pattern": PRINTABLE},
                OpenApiParameter.HEADER,
                description="A name for this request, of your own making. Sent again within 24 hours, by you "
                "and in this organisation, it starts nothing new and answers with the same cells.",
            ),
        ],
        responses={
            200: OpenApiResponse(StartedSerializer, "All cells are closed."),
            202: OpenApiResponse(StartedSerializer, "Under way; `Location` and `Link` lead to the progress."),
            **WRITE_ERRORS,
            **errors(422, 429),
        },
    )
    def post(self, request: Request, **ids: str) -> Response:
        experiment = self.experiment
        chosen = self.checked(RunBody)
        batch = planning.start_batch(experiment=experiment, author=self.user, once=self.once, **chosen)
        hurried = _prefers_async(request)
        wait_s = 0 if hurried or batch.total > settings.RUN_SYNC_CELLS else settings.RUN_SYNC_WAIT
        finished = wait_s > 0 and planning.wait_until_finished(batch, timeout_s=wait_s)
        progress = reverse("api:batch-detail", args=[self.org.pk, batch.pk])
        headers = {"Location": progress, "Link": f'<{progress}>; rel="progress"'}
        if hurried:
            headers["Preference-Applied"] = RESPOND_ASYNC
        body = {"ok": True, "runs": _started(batch)}
        return Response(body, status=200 if finished else 202, headers=headers)

    @property
    def once(self) -> Once | None:
        """The request under its caller's key; None where none was sent. Raises InvalidBody for a bad one."""
        key = self.request.headers.get(HEADER)
        if key is None:
            return None
        if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            raise InvalidBody({HEADER: [f"This must be 1 to {LONGEST_KEY} printable ASCII characters."]})
        address = self.request.path
        return Once.of(org=self.org, user=self.user, key=key, address=address, body=self.request.data)


def _started(batch: Batch) -> list[Any]:
    """The cells as the serializer has them, made by the database: there may be ten thousand."""
    return list(batch.runs.order_by("position").values(**wire.columns(StartedRunSerializer)))


def _prefers_async(request: Request) -> bool:
    """RFC 7240: preferences are separated by commas, each with parameters after a semicolon."""
    preferences = request.headers.get("Prefer", "").split(",")
    return any(text.split(";")[0].strip().lower() == RESPOND_ASYNC for text in preferences)


class PlanSerializer(serializers.Serializer[Any]):
    """What Run would do. Estimates go by recent answers; null where none was measured for a model of it."""

    cells = serializers.IntegerField()
    calls = serializers.IntegerField(help_text="Cells that need their model.")
    cachedCells = serializers.IntegerField(source="cached_cells")
    loads = serializers.IntegerField(help_text="How often a server may have to load a model.")
    estimatedTokens = serializers.IntegerField(
        source="tokens", allow_null=True, help_text="Input and output together."
    )
    estimatedMinutes = serializers.FloatField(source="minutes", allow_null=True)
    quotaLeft = serializers.DictField(
        source="quota_left",
        child=serializers.IntegerField(allow_null=True),
        help_text="By the name of the limit; null where there is none.",
    )


class RunPlan(ExperimentsView):
    required_permission = READ

    @acts("experiment_plan", RunBody, {200: envelope("plan", PlanSerializer)})
    def post(self, request: Request, **ids: str) -> Response:
        plan = estimates.estimate(self.experiment, user=self.user, **self.checked(RunBody))
        return Response({"plan": PlanSerializer(plan).data})


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


class BatchPause(BatchView):
    @acts("batch_pause", None, {200: BATCH})
    def post(self, request: Request, **ids: str) -> Response:
        steering.pause(self.find(), actor=self.user)
        return self.respond()


class ResumeBody(StrictSerializer):
    """A budget that is left out stays as it is; null takes it away."""

    tokenBudget = StrictIntegerField(
        source="token_budget", required=False, allow_null=True, min_value=1, max_value=MOST_TOKENS
    )


class BatchResume(BatchView):
    @acts("batch_resume", ResumeBody, {200: BATCH})
    def post(self, request: Request, **ids: str) -> Response:
        steering.resume(self.find(), actor=self.user, **self.checked(ResumeBody))
        return self.respond()


class BatchRetry(BatchView):
    @acts("batch_retry", None, {200: BATCH})
    def post(self, request: Request, **ids: str) -> Response:
        steering.retry_failed(self.find(), actor=self.user)
        return self.respond()
