"""The sessions of the playground: what was sent, and what came back."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers

from evalsuite.documents import describes, lists
from evalsuite.fields import ObjectField, PersonSerializer, TextOrNull
from evalsuite.orgs.querysets import find
from evalsuite.orgs.resources import Detail, Paged, Resource
from playground import sessions
from playground.models import PlaygroundMessage, PlaygroundSession


class SessionMessageSerializer(serializers.Serializer[PlaygroundMessage]):
    """The measurements belong to the assistant's message; null: not told."""

    id = serializers.UUIDField()
    role = serializers.ChoiceField(choices=PlaygroundMessage.Role.values)
    content = serializers.CharField()
    latencyMs = serializers.IntegerField(source="latency_ms", allow_null=True)
    inputTokens = serializers.IntegerField(source="input_tokens", allow_null=True)
    outputTokens = serializers.IntegerField(source="output_tokens", allow_null=True)
    stopReason = TextOrNull(source="stop_reason")
    errorCode = TextOrNull(source="error_code", help_text="Why the answer is missing or cut off.")
    timings = ObjectField()
    createdAt = serializers.DateTimeField(source="created_at")


class SettingsSerializer(serializers.Serializer[PlaygroundSession]):
    """`parameters` is all that was really sent."""

    id = serializers.UUIDField()
    user = PersonSerializer()
    chatProfileId = serializers.UUIDField(source="chat_profile_id", allow_null=True)
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
    messages = SessionMessageSerializer(many=True)


@extend_schema_view(get=lists("playground_session", "sessions", SessionRowSerializer))
class SessionList(Resource, Paged):
    """One's own, or with `org:audit:read` all of the org's."""

    required_permission = "org:playground:use"
    list_key = "sessions"
    serializer_class = SessionRowSerializer

    def get_queryset(self) -> QuerySet[PlaygroundSession]:
        return sessions.with_preview(sessions.visible_to(self.org, self.user))


@extend_schema_view(**describes("playground_session", "session", SessionSerializer, None))
class SessionDetail(Detail):
    required_permission = "org:playground:use"
    http_method_names = ["get", "delete", "head", "options"]
    key = "session"
    answer = SessionSerializer

    def find(self) -> PlaygroundSession:
        visible = sessions.visible_to(self.org, self.user).prefetch_related("messages")
        return find(visible, self.kwargs["session_id"])

    def remove(self, row: Any) -> None:
        sessions.delete(row, org=self.org, actor=self.user)
