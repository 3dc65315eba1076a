"""Inputs: the test set."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.fields import LONGEST_TEXT, Moment, ObjectField, RowSerializer
from evalsuite.openapi import OK
from experiments.api.base import DetailView, ListView
from experiments.models import ExperimentInput
from experiments.services import authoring

MOST_INPUTS = 10_000  # of one request


class InputBody(StrictSerializer):
    key = StrictCharField(max_length=128)
    content = StrictCharField(max_length=LONGEST_TEXT, trim_whitespace=False)
    expected = StrictCharField(
        max_length=LONGEST_TEXT, required=False, allow_null=True, allow_blank=True, trim_whitespace=False
    )
    metadata = ObjectField(required=False)


class InputsBody(StrictSerializer):
    inputs = InputBody(many=True, allow_empty=False, max_length=MOST_INPUTS)  # type: ignore[call-arg]


class InputSerializer(RowSerializer):
    id = serializers.UUIDField()
    experimentId = serializers.UUIDField(source="experiment_id")
    key = serializers.CharField()
    content = serializers.CharField()
    expected = serializers.CharField(allow_null=True)
    metadata = ObjectField()
    createdAt = Moment(source="created_at")


@extend_schema_view(get=lists("input", "inputs", InputSerializer))
class InputList(ListView):
    list_key = "inputs"
    serializer_class = InputSerializer

    def get_queryset(self) -> QuerySet[ExperimentInput]:
        return self.experiment.inputs.all()

    @creates("input", InputsBody, OK)
    def post(self, request: Request, **ids: str) -> Response:
        experiment = self.experiment
        rows = self.checked(InputsBody)["inputs"]
        authoring.add_inputs(experiment=experiment, author=self.user, rows=rows)
        return Response({"ok": True}, status=201)


@extend_schema_view(**describes("input", "input", InputSerializer, InputBody))
class InputDetail(DetailView):
    key = "input"
    answer = InputSerializer
    changes_body = InputBody

    def find(self) -> Any:
        rows = ExperimentInput.objects.for_org(self.org).filter(experiment=self.experiment)
        return rows.find(self.kwargs["input_id"])
