"""The models that an org may call, and the one that it calls when it names none."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictIntegerField, StrictSerializer
from evalsuite.documents import READ_ERRORS, WRITE_ERRORS, describes, lists
from evalsuite.errors import NotFound
from evalsuite.fields import ObjectField, TextOrNull
from evalsuite.openapi import envelope
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.querysets import find
from evalsuite.orgs.resources import Detail, Paged, Resource
from llm_routing import registry, services
from llm_routing.models import ModelDefault, RegisteredModel

SMALLEST_CONTEXT, LARGEST_CONTEXT = 128, 10_000_000  # tokens


class ModelChanges(StrictSerializer):
    numCtx = StrictIntegerField(
        source="num_ctx",
        required=False,
        allow_null=True,
        min_value=SMALLEST_CONTEXT,
        max_value=LARGEST_CONTEXT,
        help_text="Context to load the model with; null: 4096, or less where it has less.",
    )


class ModelSerializer(serializers.Serializer[RegisteredModel]):
    id = serializers.UUIDField()
    providerId = serializers.UUIDField(source="provider_id")
    modelProvider = serializers.CharField(source="provider.slug")
    modelName = serializers.CharField(source="name")
    digest = TextOrNull(help_text="SHA-256 of the weights, where the provider tells it.")
    sizeBytes = serializers.IntegerField(source="size_bytes", allow_null=True)
    contextTokens = serializers.IntegerField(source="context_tokens", allow_null=True)
    numCtx = serializers.IntegerField(source="num_ctx", allow_null=True)
    capabilities = serializers.ListField(child=serializers.CharField())
    details = ObjectField()
    available = serializers.BooleanField(help_text="False: the provider lists it no more.")
    shared = serializers.SerializerMethodField()
    isToy = serializers.BooleanField(source="provider.is_toy", help_text="Small: for trying the product.")
    isCloud = serializers.BooleanField(
        source="is_cloud",
        help_text="A hosted model behind an Ollama: its text leaves the house.",
    )
    isDefault = serializers.BooleanField(
        source="is_default", help_text="Requests of this organisation that name no model go to it."
    )
    lastSeenAt = serializers.DateTimeField(source="last_seen_at", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at")

    def get_shared(self, model: RegisteredModel) -> bool:
        return model.provider.org_id is None


class DefaultModelBody(StrictSerializer):
    modelProvider = StrictCharField(
        source="model_provider",
        max_length=64,
        required=False,
        help_text=f"Default: {registry.DEFAULT_PROVIDER}.",
    )
    modelName = StrictCharField(source="model_name", max_length=256)


class ModelsView(Resource):
    required_permission: ClassVar[Permission | dict[str, Permission]] = {
        "GET": "org:experiments:read",
        "PUT": "org:models:write",
        "PATCH": "org:models:write",
        "DELETE": "org:models:write",
    }


@extend_schema_view(get=lists("model", "models", ModelSerializer))
class ModelList(ModelsView, Paged):
    list_key = "models"
    serializer_class = ModelSerializer

    def get_queryset(self) -> QuerySet[RegisteredModel]:
        return RegisteredModel.objects.visible_to(self.org)


@extend_schema_view(**describes("model", "model", ModelSerializer, ModelChanges))
class ModelDetail(ModelsView, Detail):
    key = "model"
    answer = ModelSerializer
    changes_body = ModelChanges

    def find(self) -> RegisteredModel:
        return find(RegisteredModel.objects.visible_to(self.org), self.kwargs["model_id"])

    def change(self, row: RegisteredModel, given: dict[str, Any]) -> None:
        num_ctx = given.get("num_ctx", row.num_ctx)
        services.set_num_ctx(row, org=self.org, actor=self.user, num_ctx=num_ctx)

    def remove(self, row: RegisteredModel) -> None:
        services.delete_model(row, org=self.org, actor=self.user)


class DefaultModel(ModelsView):
    """The model of requests that name none. Without one they get `MODEL_NOT_FOUND`."""

    @extend_schema(
        operation_id="default_model_read",
        responses={200: envelope("model", ModelSerializer), **READ_ERRORS},
    )
    def get(self, request: Request, org_id: str) -> Response:
        default = ModelDefault.objects.filter(org=self.org).first()
        if default is None:
            raise NotFound("model", "The organisation has no default model.")
        return self._answer(default.model_id)

    @extend_schema(
        operation_id="default_model_set",
        request=DefaultModelBody,
        responses={200: envelope("model", ModelSerializer), **WRITE_ERRORS},
    )
    def put(self, request: Request, org_id: str) -> Response:
        body = {"model_provider": None, **self.checked(DefaultModelBody)}
        return self._answer(services.set_default_model(self.org, actor=self.user, **body).pk)

    def _answer(self, model_id: UUID) -> Response:
        model = RegisteredModel.objects.with_default_of(self.org).get(pk=model_id)
        return Response({"model": ModelSerializer(model).data})
