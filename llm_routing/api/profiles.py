"""Chat profiles: a prompt, a model and settings under one name."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictIntegerField, StrictSerializer
from evalsuite.documents import acts, creates, describes, lists
from evalsuite.fields import LONGEST_TEXT, NumberField, OptionalText, PersonSerializer
from evalsuite.openapi import envelope
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.resources import Detail, Paged, Resource
from llm_routing import registry, services
from llm_routing.models import ChatProfile, ChatProfileVersion


class ProfileBody(StrictSerializer):
    """The model must be one that the organisation may call."""

    name = StrictCharField(max_length=128)
    systemPrompt = OptionalText(source="system_prompt", max_length=LONGEST_TEXT)
    modelProvider = StrictCharField(
        source="model_provider",
        max_length=64,
        required=False,
        help_text=f"Default: {registry.DEFAULT_PROVIDER}.",
    )
    modelName = StrictCharField(source="model_name", max_length=256)
    temperature = NumberField(required=False, min_value=0, max_value=2)
    topP = NumberField(source="top_p", required=False, min_value=0, max_value=1)
    maxTokens = StrictIntegerField(
        source="max_tokens", required=False, allow_null=True, min_value=1, max_value=32768
    )


class ProfileSerializer(serializers.Serializer[ChatProfile]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    systemPrompt = serializers.CharField(source="system_prompt")
    modelProvider = serializers.CharField(source="model_provider")
    modelName = serializers.CharField(source="model_name")
    temperature = serializers.FloatField()
    topP = serializers.FloatField(source="top_p")
    maxTokens = serializers.IntegerField(source="max_tokens", allow_null=True)
    version = serializers.IntegerField(help_text="Counts the changes, from 1.")
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")


class ProfileVersionSerializer(serializers.Serializer[ChatProfileVersion]):
    """What the profile said at one version. `author` is null where nobody is known."""

    version = serializers.IntegerField(source="number")
    name = serializers.CharField()
    systemPrompt = serializers.CharField(source="system_prompt")
    modelProvider = serializers.CharField(source="model_provider")
    modelName = serializers.CharField(source="model_name")
    temperature = serializers.FloatField()
    topP = serializers.FloatField(source="top_p")
    maxTokens = serializers.IntegerField(source="max_tokens", allow_null=True)
    author = PersonSerializer(allow_null=True)
    restoredFrom = serializers.IntegerField(
        source="restored_from", allow_null=True, help_text="The version that was brought back."
    )
    createdAt = serializers.DateTimeField(source="created_at")


class ProfilesView(Resource):
    required_permission: ClassVar[Permission | dict[str, Permission]] = {
        "GET": "org:experiments:read",
        "POST": "org:profiles:write",
        "PATCH": "org:profiles:write",
        "DELETE": "org:profiles:write",
    }


@extend_schema_view(get=lists("chat_profile", "chatProfiles", ProfileSerializer))
class ProfileList(ProfilesView, Paged):
    list_key = "chatProfiles"
    serializer_class = ProfileSerializer

    def get_queryset(self) -> QuerySet[ChatProfile]:
        return ChatProfile.objects.for_org(self.org)

    @creates("chat_profile", ProfileBody, envelope("chatProfile", ProfileSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        profile = services.create_profile(org=self.org, actor=self.user, **self.checked(ProfileBody))
        return Response({"chatProfile": ProfileSerializer(profile).data}, status=201)


@extend_schema_view(**describes("chat_profile", "chatProfile", ProfileSerializer, ProfileBody))
class ProfileDetail(ProfilesView, Detail):
    key = "chatProfile"
    answer = ProfileSerializer
    changes_body = ProfileBody

    def find(self) -> ChatProfile:
        return ChatProfile.objects.for_org(self.org).select_related("org").find(self.kwargs["profile_id"])

    def change(self, row: ChatProfile, given: dict[str, Any]) -> None:
        services.update_profile(row, actor=self.user, **given)

    def remove(self, row: ChatProfile) -> None:
        services.delete_profile(row, actor=self.user)


class VersionsView(ProfilesView):
    def profile(self) -> ChatProfile:
        """The one in the URL. Raises NotFound."""
        return ChatProfile.objects.for_org(self.org).select_related("org").find(self.kwargs["profile_id"])

    def versions(self) -> QuerySet[ChatProfileVersion]:
        return self.profile().versions.select_related("author")


@extend_schema_view(get=lists("chat_profile_version", "versions", ProfileVersionSerializer))
class VersionList(VersionsView, Paged):
    """Every version that there was, the present one first."""

    list_key = "versions"
    list_ordering = "-number"
    serializer_class = ProfileVersionSerializer

    def get_queryset(self) -> QuerySet[ChatProfileVersion]:
        return self.versions()


VERSION = OpenApiParameter("version", {"type": "integer", "minimum": 1}, OpenApiParameter.PATH)


class VersionRestore(VersionsView):
    """What an earlier version said becomes the next version."""

    @extend_schema(parameters=[VERSION])
    @acts("chat_profile_version_restore", None, {200: envelope("chatProfile", ProfileSerializer)})
    def post(self, request: Request, **ids: str) -> Response:
        profile = self.profile()
        version = services.find_version(profile, self.kwargs["version"])
        services.restore_profile(profile, version, actor=self.user)
        return Response({"chatProfile": ProfileSerializer(profile).data})
