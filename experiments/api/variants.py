"""Variants: the ways of solving the task that compete."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.fields import LONGEST_NOTE, LONGEST_TEXT, IdOf, Moment, OptionalText, RowSerializer
from evalsuite.openapi import envelope
from experiments.api.base import DetailView, ListView
from experiments.api.config import ConfigField
from experiments.models import ExperimentVariant
from experiments.services import authoring
from llm_routing.models import ChatProfile


class VariantBody(StrictSerializer):
    name = StrictCharField(max_length=128)
    description = OptionalText(max_length=LONGEST_NOTE)
    chatProfileId = IdOf(ChatProfile, source="chat_profile", required=False, allow_null=True)
    systemPrompt = OptionalText(source="system_prompt", max_length=LONGEST_TEXT)
    config = ConfigField(required=False)


class VariantSerializer(RowSerializer):
    id = serializers.UUIDField()
    experimentId = serializers.UUIDField(source="experiment_id")
    name = serializers.CharField()
    description = serializers.CharField()
    chatProfileId = serializers.UUIDField(source="chat_profile_id", allow_null=True)
    systemPrompt = serializers.CharField(source="system_prompt")
    config = ConfigField()
    createdAt = Moment(source="created_at")


@extend_schema_view(get=lists("variant", "variants", VariantSerializer))
class VariantList(ListView):
    list_key = "variants"
    serializer_class = VariantSerializer

    def get_queryset(self) -> QuerySet[ExperimentVariant]:
        return self.experiment.variants.all()

    @creates("variant", VariantBody, envelope("variant", VariantSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        experiment = self.experiment
        fields = self.checked(VariantBody)
        variant = authoring.create_variant(experiment=experiment, author=self.user, **fields)
        return Response({"variant": VariantSerializer(variant).data}, status=201)


@extend_schema_view(**describes("variant", "variant", VariantSerializer, VariantBody))
class VariantDetail(DetailView):
    key = "variant"
    answer = VariantSerializer
    changes_body = VariantBody

    def find(self) -> Any:
        rows = ExperimentVariant.objects.for_org(self.org).filter(experiment=self.experiment)
        return rows.find(self.kwargs["variant_id"])
