"""The playground's two contract routes: the whole answer at once, or as it is written."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import (
    PromptField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    validated,
)
from evalsuite.errors import EvalsuiteError
from evalsuite.openapi import errors, event_stream
from evalsuite.orgs.api import OrgApiView
from evalsuite.streams import StreamNegotiation, in_thread, sse
from llm_routing.models import ChatProfile
from llm_routing.providers.calls import CallHandle
from playground import services

log = logging.getLogger(__name__)

LONGEST_PROMPT = 1_000_000  # characters
SETTINGS = ("modelProvider", "modelName", "temperature", "topP", "maxTokens")


class CompletionBody(StrictSerializer):
    """What to try. What is left open comes from the chat profile, then from the defaults."""

    chatProfileId = StrictCharField(required=False, allow_null=True, max_length=64)
    modelProvider = StrictCharField(required=False, allow_null=True, max_length=64)
    modelName = StrictCharField(required=False, allow_null=True, max_length=256)
    prompt = PromptField(max_length=LONGEST_PROMPT)
    systemPrompt = StrictCharField(
        required=False, allow_null=True, allow_blank=True, max_length=LONGEST_PROMPT, trim_whitespace=False
    )
    temperature = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=2)
    topP = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=1)
    maxTokens = StrictIntegerField(required=False, allow_null=True, min_value=1, max_value=32768)


class AnswerSerializer(serializers.Serializer[services.Answer]):
    sessionId = serializers.UUIDField(source="session_id")
    output = serializers.CharField()
    latencyMs = serializers.IntegerField(source="latency_ms")
    inputTokens = serializers.IntegerField(source="input_tokens", allow_null=True)
    outputTokens = serializers.IntegerField(source="output_tokens", allow_null=True)


class PlaygroundView(OrgApiView):
    required_permission = "org:playground:use"

    def open_session(self, request: Request) -> services.Trial:
        body: dict[str, Any] = validated(CompletionBody, request.data)
        profile_id = body.get("chatProfileId")
        return services.open_session(
            org=self.org,
            user=self.user,
            prompt=body["prompt"],
            system_prompt=body.get("systemPrompt"),
            chat_profile=ChatProfile.objects.for_org(self.org).find(profile_id) if profile_id else None,
            explicit={name: body.get(name) for name in SETTINGS},
        )


class CompleteView(PlaygroundView):
    @extend_schema(
        operation_id="playground_complete",
        request=CompletionBody,
        responses={200: AnswerSerializer, **errors(400, 401, 403, 404, 413, 415, 429, 502, 503, 504)},
    )
    def post(self, request: Request, org_id: str) -> Response:
        answer = services.complete(self.open_session(request))
        return Response(AnswerSerializer(answer).data)


class StreamView(PlaygroundView):
    content_negotiation_class = StreamNegotiation

    @extend_schema(
        operation_id="playground_stream",
        request=CompletionBody,
        responses={
            **event_stream(
                "Events: `session`, `delta` ..., then `done` or `error`.", "session", "delta", "done", "error"
            ),
            **errors(400, 401, 403, 404, 413, 415, 429, 503),
        },
    )
    def post(self, request: Request, org_id: str) -> HttpResponseBase:
        return self.stream(_events(self.open_session(request)))


async def _events(trial: services.Trial) -> AsyncGenerator[bytes, None]:
    session = trial.session
    handle = CallHandle()
    yield sse(
        "session",
        {
            "sessionId": str(session.pk),
            "modelProvider": session.model_provider,
            "modelName": session.model_name,
        },
    )
    try:
        async with aclosing(in_thread(services.stream(trial, handle=handle), cancel=handle.cancel)) as events:
            async for event in events:
                if isinstance(event, services.Answer):
                    yield sse("done", AnswerSerializer(event).data)
                elif event.content or event.thinking:
                    yield sse("delta", {"content": event.content, "thinking": event.thinking})
    except EvalsuiteError as error:
        yield sse("error", {"error": error.code, "details": error.details})
    except Exception:
        # The status is sent already: the client is told here, the log has the reason.
        log.exception("a playground stream broke")
        yield sse(
            "error", {"error": "INTERNAL_ERROR", "details": {"message": "Something broke on our side."}}
        )
