"""Providers: the org's own, and to read those that the operator shares with all."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.validators import validate_slug
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    validated,
)
from evalsuite.documents import acts, creates, describes, lists
from evalsuite.fields import NumberField
from evalsuite.openapi import envelope
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.querysets import find
from evalsuite.orgs.resources import Detail, Paged, Resource
from llm_routing import provider_services
from llm_routing.diagnosis import Diagnosis, Finding
from llm_routing.models import HEADER_SAFE, Provider

KINDS = Provider.Kind.values
LONGEST_WAIT = 3_600  # seconds
LONGEST_ADDRESS = 512  # characters


@extend_schema_field(
    {"type": "string", "format": "uri", "pattern": r"^https?://[^\s@?#\\]+$", "maxLength": LONGEST_ADDRESS}
)
class AddressField(StrictCharField):
    """Where a server is. Its name must be found, and lead where the organisation may go."""


class EndpointBody(StrictSerializer):
    baseUrl = AddressField(source="base_url", max_length=LONGEST_ADDRESS)
    slots = StrictIntegerField(
        default=4, min_value=1, max_value=1024, help_text="Calls that may be in the air at once."
    )
    weight = StrictIntegerField(
        default=1,
        min_value=1,
        max_value=100,
        help_text="An endpoint of weight 2 gets twice the calls of one of weight 1.",
    )
    enabled = StrictBooleanField(
        required=False, help_text="Left out: as it is; one that is new is switched on."
    )

    def validate_baseUrl(self, value: str) -> str:
        return value.rstrip("/")

    def to_internal_value(self, data: Any) -> Any:
        """Whole at all times: it replaces an endpoint also where the body around it is a change."""
        return super().to_internal_value(data) if self.parent is None else validated(EndpointBody, data)


def _seconds(source: str) -> NumberField:
    return NumberField(source=source, required=False, min_value=0.1, max_value=LONGEST_WAIT)


class ProviderChanges(StrictSerializer):
    """Everything but slug and kind. `endpoints` replaces all; a new address wipes the key."""

    name = StrictCharField(max_length=128)
    apiKey = StrictCharField(
        source="api_key",
        required=False,
        allow_blank=True,
        max_length=4_096,
        validators=[HEADER_SAFE],
        help_text="Write-only; empty takes it away.",
    )
    enabled = StrictBooleanField(required=False)
    endpoints = serializers.ListField(child=EndpointBody(), min_length=1, max_length=64)
    connectTimeout = _seconds("connect_timeout")
    firstTokenTimeout = _seconds("first_token_timeout")
    idleTimeout = _seconds("idle_timeout")
    totalTimeout = _seconds("total_timeout")


class ProviderBody(ProviderChanges):
    slug = StrictCharField(max_length=64, validators=[validate_slug])
    kind = serializers.ChoiceField(choices=KINDS)


class EndpointSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    baseUrl = serializers.CharField(source="base_url")
    slots = serializers.IntegerField()
    weight = serializers.IntegerField()
    enabled = serializers.BooleanField()


class ProviderSerializer(serializers.Serializer[Provider]):
    """A shared one does not tell where it is."""

    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=KINDS)
    shared = serializers.SerializerMethodField()
    enabled = serializers.BooleanField()
    hasApiKey = serializers.SerializerMethodField()
    endpoints = serializers.SerializerMethodField()
    connectTimeout = serializers.FloatField(source="connect_timeout", help_text="In seconds.")
    firstTokenTimeout = serializers.FloatField(source="first_token_timeout", help_text="In seconds.")
    idleTimeout = serializers.FloatField(source="idle_timeout", help_text="In seconds.")
    totalTimeout = serializers.FloatField(source="total_timeout", help_text="In seconds.")
    createdAt = serializers.DateTimeField(source="created_at")

    def get_shared(self, provider: Provider) -> bool:
        return provider.org_id is None

    def get_hasApiKey(self, provider: Provider) -> bool:
        return bool(provider.api_key)

    @extend_schema_field(EndpointSerializer(many=True))
    def get_endpoints(self, provider: Provider) -> Any:
        return [] if provider.org_id is None else EndpointSerializer(provider.endpoints.all(), many=True).data


class SyncSerializer(serializers.Serializer[Any]):
    """Names of models, by what happened to them."""

    added = serializers.ListField(child=serializers.CharField())
    updated = serializers.ListField(child=serializers.CharField())
    gone = serializers.ListField(child=serializers.CharField())


class DiagnosisSerializer(serializers.Serializer[Diagnosis]):
    endpointId = serializers.UUIDField(source="endpoint_id")
    baseUrl = serializers.CharField(source="base_url")
    ok = serializers.BooleanField()
    finding = serializers.ChoiceField(choices=[finding.value for finding in Finding])
    message = serializers.CharField(help_text="The same in words, with what may help.")
    version = serializers.CharField(allow_null=True)
    models = serializers.IntegerField(allow_null=True, help_text="How many the server lists.")
    latencyMs = serializers.IntegerField(source="latency_ms", allow_null=True)


class ConnectionTestSerializer(serializers.Serializer[Any]):
    """`ok`: every endpoint can be used."""

    ok = serializers.BooleanField()
    endpoints = DiagnosisSerializer(many=True)


class ProvidersView(Resource):
    required_permission: ClassVar[Permission | dict[str, Permission]] = {
        "GET": "org:experiments:read",
        "POST": "org:models:write",
        "PATCH": "org:models:write",
        "DELETE": "org:models:write",
    }

    def provider(self) -> Provider:
        """The one in the URL. Raises NotFound."""
        return find(Provider.objects.visible_to(self.org), self.kwargs["provider_id"])


@extend_schema_view(get=lists("provider", "providers", ProviderSerializer))
class ProviderList(ProvidersView, Paged):
    list_key = "providers"
    serializer_class = ProviderSerializer

    def get_queryset(self) -> QuerySet[Provider]:
        return Provider.objects.visible_to(self.org)

    @creates("provider", ProviderBody, envelope("provider", ProviderSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        provider = provider_services.create_provider(
            org=self.org, actor=self.user, **self.checked(ProviderBody)
        )
        return Response({"provider": ProviderSerializer(provider).data}, status=201)


@extend_schema_view(**describes("provider", "provider", ProviderSerializer, ProviderChanges))
class ProviderDetail(ProvidersView, Detail):
    key = "provider"
    answer = ProviderSerializer
    changes_body = ProviderChanges

    def find(self) -> Provider:
        return self.provider()

    def change(self, row: Provider, given: dict[str, Any]) -> None:
        provider_services.update_provider(row, org=self.org, actor=self.user, **given)

    def remove(self, row: Provider) -> None:
        provider_services.delete_provider(row, org=self.org, actor=self.user)

    def respond(self, row: Any, *, status: int = 200) -> Response:
        return super().respond(Provider.objects.visible_to(self.org).get(pk=row.pk), status=status)


class ProviderSync(ProvidersView):
    @acts("provider_sync", None, {200: SyncSerializer}, statuses=(502, 503, 504))
    def post(self, request: Request, **ids: str) -> Response:
        result = provider_services.sync(self.provider(), org=self.org, actor=self.user)
        return Response(SyncSerializer(result).data)


class ProviderTest(ProvidersView):
    """Whether its servers can be used, and if not why, in words. A shared one is the operator's to test."""

    @acts("provider_test", None, {200: ConnectionTestSerializer})
    def post(self, request: Request, **ids: str) -> Response:
        found = provider_services.test_connection(self.provider(), org=self.org, actor=self.user)
        return Response(
            ConnectionTestSerializer({"ok": all(one.ok for one in found), "endpoints": found}).data
        )
