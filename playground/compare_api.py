"""The bench's stream: several columns and repeats over one connection, and the way to stop them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import PromptField, StrictCharField, StrictIntegerField, StrictSerializer
from evalsuite.documents import acts
from evalsuite.fields import NumberField
from evalsuite.openapi import OK, errors, event_stream
from evalsuite.orgs.resources import Resource
from evalsuite.streams import StreamNegotiation, in_threads, sse
from llm_routing.api.parameters import LARGEST_SEED, LONGEST_STOP, MOST_STOPS, FormatField, ThinkField
from llm_routing.models import ChatProfile
from playground import api, comparing, live
from playground.comparing import LONGEST_PROMPT, MOST_REPEATS, Answered, Column, Failed, Opened, Wrote
from playground.live import MOST_COLUMNS
from playground.models import Comparison, PlaygroundSession

SETTINGS = (*api.SETTINGS, "seed", "stop", "format", "think")
MOST_VARIABLES = 100


def _open(field: type[Any], **options: Any) -> Any:
    """A setting that may be left out; null leaves it open as well."""
    return field(required=False, allow_null=True, **options)


class ColumnBody(StrictSerializer):
    """How to ask. What is left open comes from the chat profile, then from the defaults.

    Or a `sessionId` alone: one of the caller's sessions goes on, with its own settings and all that was said.
    """

    sessionId = _open(StrictCharField, max_length=64)
    chatProfileId = _open(StrictCharField, max_length=64)
    modelProvider = _open(StrictCharField, max_length=64)
    modelName = _open(StrictCharField, max_length=256)
    systemPrompt = _open(StrictCharField, allow_blank=True, max_length=LONGEST_PROMPT, trim_whitespace=False)
    temperature = _open(NumberField, min_value=0, max_value=2)
    topP = _open(NumberField, min_value=0, max_value=1)
    maxTokens = _open(StrictIntegerField, min_value=1, max_value=32_768)
    seed = _open(StrictIntegerField, min_value=-LARGEST_SEED, max_value=LARGEST_SEED)
    stop = _open(
        serializers.ListField,
        child=StrictCharField(max_length=LONGEST_STOP, trim_whitespace=False),
        max_length=MOST_STOPS,
    )
    format = _open(FormatField)
    think = _open(ThinkField)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        others = [name for name, value in attrs.items() if name != "sessionId" and value is not None]
        if attrs.get("sessionId") is not None and others:
            raise serializers.ValidationError(
                {"sessionId": [f"A session keeps its settings: leave {', '.join(others)} out."]}
            )
        return attrs


class CompareBody(StrictSerializer):
    """One prompt for all columns. With `variables`, each `{{ name }}` in it must have a value, and is
    replaced by it as plain text, once; without, braces are text like any other. `repeats` is 1 where a
    column has a `sessionId`: what is asked next in a session follows on what was answered."""

    prompt = PromptField(max_length=LONGEST_PROMPT)
    variables = serializers.DictField(
        child=StrictCharField(max_length=LONGEST_PROMPT, allow_blank=True, trim_whitespace=False),
        required=False,
        allow_null=True,
    )
    columns = serializers.ListField(child=ColumnBody(), min_length=1, max_length=MOST_COLUMNS)
    repeats = StrictIntegerField(required=False, default=1, min_value=1, max_value=MOST_REPEATS)

    def validate_variables(self, value: dict[str, str] | None) -> dict[str, str] | None:
        if value and len(value) > MOST_VARIABLES:
            raise serializers.ValidationError(f"At most {MOST_VARIABLES} variables.")
        return value


class BenchAnswerSerializer(serializers.Serializer[Answered]):
    """A whole answer, as the event `done` has it. Durations in milliseconds; null: not told."""

    column = serializers.IntegerField(source="spot.column")
    repeat = serializers.IntegerField(source="spot.repeat")
    sessionId = serializers.UUIDField(source="session.pk")
    messageId = serializers.UUIDField(source="message_id")
    output = serializers.CharField(source="completion.content")
    thinking = serializers.CharField(source="completion.thinking")
    latencyMs = serializers.SerializerMethodField()
    firstTokenMs = serializers.FloatField(source="completion.timings.first_token_ms", allow_null=True)
    tokensPerSecond = serializers.SerializerMethodField()
    inputTokens = serializers.IntegerField(source="completion.input_tokens", allow_null=True)
    outputTokens = serializers.IntegerField(source="completion.output_tokens", allow_null=True)
    stopReason = serializers.CharField(source="completion.stop_reason", allow_null=True)
    coldStart = serializers.BooleanField(source="completion.cold_start")
    mayBeCut = serializers.BooleanField(source="completion.may_be_cut")
    valid = serializers.SerializerMethodField()
    problem = serializers.CharField(allow_null=True)

    def get_latencyMs(self, answered: Answered) -> int:
        return round(answered.completion.timings.total_ms)

    def get_tokensPerSecond(self, answered: Answered) -> float | None:
        return answered.tokens_per_second

    def get_valid(self, answered: Answered) -> bool | None:
        """Whether it is in the format that was asked for; null where none was."""
        return answered.problem is None if answered.format_asked else None


STREAM = """Events, as they happen over all columns; `column` and `repeat` count from 0.

`start` (`comparisonId`, `columns`, `repeats`) comes first. Then for each call, with `column` and `repeat`:
`session` (`sessionId`, `modelProvider`, `modelName`), `delta` events (`content`, `thinking`), and in the end
`done` (`sessionId`, `messageId`, `output`, `thinking`, `latencyMs`, `firstTokenMs`, `tokensPerSecond`,
`inputTokens`, `outputTokens`, `stopReason`, `coldStart`, `mayBeCut`, and where a format was asked for
`valid`, with the `problem` where it is not) or `error` (`error`, `details`, and `sessionId` where something
was kept: what had come until then). `end` comes last.

A call that a limit refuses has its `error` in its place, and the others go on. What was stopped ends with
the error `CANCELLED`. Closing the connection stops all calls."""


class CompareStream(Resource):
    required_permission = "org:playground:use"
    content_negotiation_class = StreamNegotiation

    @extend_schema(
        operation_id="playground_compare_stream",
        request=CompareBody,
        responses={
            **event_stream(STREAM, "start", "session", "delta", "done", "error", "end"),
            **errors(400, 401, 403, 404, 413, 415),
        },
    )
    def post(self, request: Request, org_id: str) -> HttpResponseBase:
        body = self.checked(CompareBody)
        calls = comparing.start(
            org=self.org,
            user=self.user,
            prompt=body["prompt"],
            variables=body.get("variables"),
            columns=[self._column(number, given) for number, given in enumerate(body["columns"])],
            repeats=body["repeats"],
        )
        return self.stream(_events(calls, len(body["columns"]), body["repeats"]))

    def _column(self, number: int, given: dict[str, Any]) -> Column:
        if session_id := given.get("sessionId"):
            own = PlaygroundSession.objects.for_org(self.org).filter(user=self.user).select_related("org")
            return Column(session=comparing.in_column(number, lambda: own.find(session_id)))
        profile: ChatProfile | None = None
        if profile_id := given.get("chatProfileId"):
            profiles = ChatProfile.objects.for_org(self.org)
            profile = comparing.in_column(number, lambda: profiles.find(profile_id))
        return Column(
            system_prompt=given.get("systemPrompt"),
            chat_profile=profile,
            explicit={name: given.get(name) for name in SETTINGS},
        )


async def _events(calls: comparing.Calls, columns: int, repeats: int) -> AsyncGenerator[bytes, None]:
    start = {"comparisonId": str(calls.comparison.pk), "columns": columns, "repeats": repeats}
    with live.running(calls.comparison, calls):
        yield sse("start", start)
        async with aclosing(in_threads(calls.lanes(), cancel=calls.cancel)) as events:
            async for event in events:
                if line := _line(event):
                    yield line
    yield sse("end", {})


def _line(event: comparing.Event) -> bytes | None:
    where = {"column": event.spot.column, "repeat": event.spot.repeat}
    match event:
        case Opened(session=session):
            model = {"modelProvider": session.model_provider, "modelName": session.model_name}
            return sse("session", {**where, "sessionId": str(session.pk), **model})
        case Wrote(delta=delta):
            if not delta.content and not delta.thinking:
                return None
            return sse("delta", {**where, "content": delta.content, "thinking": delta.thinking})
        case Answered():
            return sse("done", json.loads(JSONRenderer().render(BenchAnswerSerializer(event).data)))
        case Failed(session=session, code=code, details=details):
            kept = {"sessionId": str(session.pk)} if session else {}
            return sse("error", {**where, **kept, "error": code, "details": details})


class StopBody(StrictSerializer):
    column = StrictIntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MOST_COLUMNS - 1,
        help_text="From 0. Left out: all of them.",
    )


class StopComparison(Resource):
    """What runs ends, what waits is not begun: within half a second, in whichever process it runs."""

    required_permission = "org:playground:use"

    @acts("playground_comparison_stop", StopBody, {200: OK})
    def post(self, request: Request, **ids: str) -> Response:
        own = Comparison.objects.for_org(self.org).filter(user=self.user)
        comparison = own.find(self.kwargs["comparison_id"])
        column = self.checked(StopBody).get("column")
        columns = range(MOST_COLUMNS) if column is None else [column]
        live.stop(comparison, columns, org=self.org, actor=self.user)
        return Response({"ok": True})
