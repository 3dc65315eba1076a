"""The sessions of the playground: what was sent, and what came back."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import PromptField, StrictSerializer
from evalsuite.documents import describes, lists
from evalsuite.errors import InvalidBody
from evalsuite.fields import ObjectField, PersonSerializer, TextOrNull
from evalsuite.openapi import errors
from evalsuite.orgs.querysets import find
from evalsuite.orgs.resources import Detail, Paged, Resource
from playground import conversations, services, sessions
from playground.api import LONGEST_PROMPT, AnswerSerializer
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession


class SessionMessageSerializer(serializers.Serializer[PlaygroundMessage]):
    """The measurements belong to the assistant's message; null: not told."""

    id = serializers.UUIDField()
    role = serializers.ChoiceField(choices=PlaygroundMessage.Role.values)
    content = serializers.CharField()
    thinking = TextOrNull()
    latencyMs = serializers.IntegerField(source="latency_ms", allow_null=True)
    inputTokens = serializers.IntegerField(source="input_tokens", allow_null=True)
    outputTokens = serializers.IntegerField(source="output_tokens", allow_null=True)
    stopReason = TextOrNull(source="stop_reason")
    errorCode = TextOrNull(
        source="error_code", help_text="Why the answer is missing, cut off, or not as asked for."
    )
    errorMessage = TextOrNull(source="error_message")
    coldStart = serializers.BooleanField(source="cold_start")
    mayBeCut = serializers.BooleanField(source="may_be_cut")
    timings = ObjectField()
    createdAt = serializers.DateTimeField(source="created_at")


class SettingsSerializer(serializers.Serializer[PlaygroundSession]):
    """`parameters` is all that was really sent."""

    id = serializers.UUIDField()
    user = PersonSerializer()
    comparisonId = serializers.UUIDField(
        source="comparison_id", allow_null=True, help_text="The press of Run that it is a part of."
    )
    column = serializers.IntegerField(help_text="Its place there, from 0; likewise `repeat`.")
    repeat = serializers.IntegerField()
    chatProfileId = serializers.UUIDField(source="chat_profile_id", allow_null=True)
    chatProfileVersion = serializers.IntegerField(source="chat_profile_version", allow_null=True)
    modelProvider = serializers.CharField(source="model_provider")
    modelName = serializers.CharField(source="model_name")
    modelDigest = TextOrNull(source="model_digest")
    temperature = serializers.FloatField()
    topP = serializers.FloatField(source="top_p")
    maxTokens = serializers.IntegerField(source="max_tokens", allow_null=True)
    parameters = ObjectField()
    createdAt = serializers.DateTimeField(source="created_at")


class SessionRowSerializer(SettingsSerializer):
    messageCount = serializers.IntegerField(source="message_count")
    prompt = serializers.CharField(
        allow_null=True, help_text=f"The first {sessions.PREVIEW} characters of it."
    )


class SessionSerializer(SettingsSerializer):
    systemPrompt = serializers.SerializerMethodField(
        help_text="One that was asked for; null: that of the profile was sent, or none."
    )
    messages = SessionMessageSerializer(many=True)

    def get_systemPrompt(self, session: PlaygroundSession) -> str | None:
        return sessions.own_system_prompt(session)


class MessageBody(StrictSerializer):
    prompt = PromptField(max_length=LONGEST_PROMPT)


SEARCH = OpenApiParameter(
    "search",
    {"type": "string", "maxLength": sessions.LONGEST_SEARCH},
    description="Only sessions whose model, or one of whose prompts, has these words in it.",
)
MINE = OpenApiParameter("mine", bool, description="`true`: one's own alone, whatever one may read.")
TRUTHS = {"true": True, "false": False}


@extend_schema_view(get=lists("playground_session", "sessions", SessionRowSerializer, SEARCH, MINE))
class SessionList(Resource, Paged):
    """One's own, or with `org:audit:read` all of the org's."""

    required_permission = "org:playground:use"
    list_key = "sessions"
    serializer_class = SessionRowSerializer

    def get_queryset(self) -> QuerySet[PlaygroundSession]:
        asked = self.request.query_params
        if asked.get("mine", "false") not in TRUTHS:
            raise InvalidBody({"mine": ["This must be true or false."]})
        words = asked.get("search", "")
        if len(words) > sessions.LONGEST_SEARCH or "\0" in words:
            raise InvalidBody({"search": [f"At most {sessions.LONGEST_SEARCH} characters, without NUL."]})
        rows = sessions.visible_to(self.org, self.user)
        if TRUTHS[asked.get("mine", "false")]:
            rows = rows.filter(user=self.user)
        return sessions.with_preview(sessions.search(rows, words))


@extend_schema_view(**describes("playground_session", "session", SessionSerializer, None))
class SessionDetail(Detail):
    required_permission = "org:playground:use"
    http_method_names = ["get", "delete", "head", "options"]
    key = "session"
    answer = SessionSerializer

    def find(self) -> PlaygroundSession:
        visible = sessions.with_profile_prompt(sessions.visible_to(self.org, self.user))
        return find(visible.prefetch_related("messages"), self.kwargs["session_id"])

    def remove(self, row: Any) -> None:
        sessions.delete(row, org=self.org, actor=self.user)


class SessionMessages(Resource):
    """A session goes on: one more message, with its own settings and all that was said before."""

    required_permission = "org:playground:use"

    @extend_schema(
        operation_id="playground_session_continue",
        request=MessageBody,
        responses={200: AnswerSerializer, **errors(400, 401, 403, 404, 409, 413, 415, 429, 502, 503, 504)},
    )
    def post(self, request: Request, **ids: str) -> Response:
        own = sessions.own(self.org, self.user).select_related("org")
        session = find(own, self.kwargs["session_id"])
        prompt = self.checked(MessageBody)["prompt"]
        answer = services.complete(conversations.open_turn(session, user=self.user, prompt=prompt))
        return Response(AnswerSerializer(answer).data)


class BenchSerializer(serializers.Serializer[Comparison]):
    """The prompt as it was written, and a session for each column and repeat that was asked."""

    id = serializers.UUIDField()
    prompt = serializers.CharField()
    variables = serializers.DictField(child=serializers.CharField())
    repeats = serializers.IntegerField()
    createdAt = serializers.DateTimeField(source="created_at")
    sessions = SessionSerializer(many=True)


@extend_schema_view(**describes("playground_comparison", "comparison", BenchSerializer, None))
class ComparisonDetail(Detail):
    """One's own comparisons."""

    required_permission = "org:playground:use"
    http_method_names = ["get", "delete", "head", "options"]
    key = "comparison"
    answer = BenchSerializer

    def find(self) -> Comparison:
        places = sessions.with_profile_prompt(PlaygroundSession.objects.select_related("user"))
        own = Comparison.objects.for_org(self.org).filter(user=self.user)
        in_order = Prefetch("sessions", places.prefetch_related("messages").order_by("column", "repeat"))
        return own.prefetch_related(in_order).find(self.kwargs["comparison_id"])

    def remove(self, row: Any) -> None:
        sessions.delete_comparison(row, org=self.org, actor=self.user)
