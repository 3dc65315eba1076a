"""Keys for programs: list, make, revoke. A key cannot do any of it."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictIntegerField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.fields import PersonSerializer
from evalsuite.orgs import api_keys
from evalsuite.orgs.models import ApiKey
from evalsuite.orgs.permissions import FOR_KEYS
from evalsuite.orgs.querysets import find
from evalsuite.orgs.resources import Detail, Paged, Resource


class KeyBody(StrictSerializer):
    name = StrictCharField(max_length=128)
    permissions = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(FOR_KEYS)), min_length=1, max_length=len(FOR_KEYS)
    )
    expiresInDays = StrictIntegerField(
        source="days", min_value=1, max_value=api_keys.LONGEST_DAYS, default=api_keys.USUAL_DAYS
    )


class KeySerializer(serializers.Serializer[ApiKey]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    hint = serializers.CharField(help_text="How the key begins.")
    permissions = serializers.ListField(child=serializers.CharField())
    createdBy = PersonSerializer(source="creator")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")
    revokedAt = serializers.DateTimeField(source="revoked_at", allow_null=True)
    lastUsedAt = serializers.DateTimeField(source="last_used_at", allow_null=True, help_text="To the minute.")


NEW_KEY = inline_serializer(
    "NewKeyAnswer",
    {
        "key": KeySerializer(),
        "token": serializers.CharField(help_text="The key itself: shown this once, and kept by nobody."),
    },
)


@extend_schema_view(get=lists("api_key", "keys", KeySerializer))
class KeyList(Resource, Paged):
    required_permission = "org:keys:manage"
    list_key = "keys"
    serializer_class = KeySerializer

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.for_org(self.org).select_related("creator")

    @creates("api_key", KeyBody, NEW_KEY)
    def post(self, request: Request, **ids: str) -> Response:
        key, token = api_keys.create_key(org=self.org, actor=self.user, **self.checked(KeyBody))
        return Response({"key": KeySerializer(key).data, "token": token}, status=201)


@extend_schema_view(**describes("api_key", "key", KeySerializer, None))
class KeyDetail(Detail):
    """A key that is revoked stays in the list. It cannot be changed: make another one."""

    required_permission = "org:keys:manage"
    http_method_names = ["get", "delete", "head", "options"]
    key = "key"
    answer = KeySerializer

    def find(self) -> ApiKey:
        return find(ApiKey.objects.for_org(self.org).select_related("creator", "org"), self.kwargs["key_id"])

    def remove(self, row: Any) -> None:
        api_keys.revoke(row, actor=self.user)
