"""Experiments, with what belongs to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema_view
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.errors import InvalidBody, NotFound
from evalsuite.fields import LONGEST_NOTE, IdOf, ObjectField, OptionalText, PersonSerializer
from evalsuite.openapi import envelope
from evalsuite.streams import in_steps
from experiments.api import nests
from experiments.api.base import DetailView, ExperimentsView, ListView
from experiments.api.inputs import InputSerializer
from experiments.api.runs import RunSerializer
from experiments.api.variants import VariantSerializer
from experiments.models import Batch, Experiment
from experiments.services import authoring

MOST_AT_ONCE = 1_000  # nested rows; a page with more is sent while it is made
FIRST = 5  # experiments of it that are read by themselves
TRUTHS = {"true": True, "false": False}


class ExperimentBody(StrictSerializer):
    name = StrictCharField(max_length=256)
    description = OptionalText(max_length=LONGEST_NOTE)
    metadata = ObjectField(required=False)


class ExperimentChanges(ExperimentBody):
    baselineBatchId = IdOf(
        Batch,
        source="baseline",
        required=False,
        allow_null=True,
        help_text="The batch of this experiment that new ones are compared with; null for none.",
    )

    def validate_baselineBatchId(self, batch: Batch | None) -> Batch | None:
        if batch and self.instance and batch.experiment_id != self.instance.pk:
            raise NotFound("batch")
        return batch


class ExperimentSerializer(serializers.Serializer[Experiment]):
    """The counts are true totals; of inputs and runs only the newest are nested."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.CharField()
    metadata = ObjectField()
    createdBy = PersonSerializer(source="created_by", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")
    baselineBatchId = serializers.UUIDField(source="baseline_id", allow_null=True)
    variantCount = serializers.IntegerField(source="variant_count")
    inputCount = serializers.IntegerField(source="input_count")
    runCount = serializers.IntegerField(source="run_count")
    variants = VariantSerializer(source="nested_variants", many=True, required=False)
    inputs = InputSerializer(source="nested_inputs", many=True, required=False)
    runs = RunSerializer(source="nested_runs", many=True, required=False)


NESTED = OpenApiParameter("nested", bool, description="`false` leaves out variants, inputs and runs.")


class ExperimentsOfOrg(ExperimentsView):
    """The org's experiments with all that they are shown with."""

    def experiments(self) -> Any:
        rows = Experiment.objects.for_org(self.org).with_counts().select_related("created_by")
        return nests.with_oldest_shown(rows) if self.nested() else rows

    def nested(self) -> bool:
        word = self.request.query_params.get("nested", "true")
        if word not in TRUTHS:
            raise InvalidBody({"nested": ["This must be true or false."]})
        return TRUTHS[word]


@extend_schema_view(get=lists("experiment", "experiments", ExperimentSerializer, NESTED))
class ExperimentList(ExperimentsOfOrg, ListView):
    list_key = "experiments"
    serializer_class = ExperimentSerializer

    def get_queryset(self) -> QuerySet[Experiment]:
        experiments: QuerySet[Experiment] = self.experiments()
        return experiments

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        if not self.nested():
            return super().get(request, *args, **kwargs)
        page = self.page(self.get_queryset())
        if nests.rows_of(page) > MOST_AT_ONCE:
            pieces = self._pieces(page, self.get_paginated_response([]).data["next"])
            return StreamingHttpResponse(in_steps(pieces), content_type=JSONRenderer.media_type)
        nests.attach(page, self.user)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def _pieces(self, page: list[Any], following: str | None) -> Iterator[bytes]:
        """The same answer, whose beginning is sent before the rest is read."""
        render, shown = JSONRenderer().render, ExperimentSerializer()
        before = b'{"experiments":['
        for part in (page[:FIRST], page[FIRST:]):
            nests.attach(part, self.user)
            for experiment in part:
                yield before + render(shown.to_representation(experiment))
                before = b","
        yield b'],"next":' + render(following) + b"}"

    @creates("experiment", ExperimentBody, envelope("experiment", ExperimentSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        body = self.checked(ExperimentBody)
        created = authoring.create_experiment(org=self.org, author=self.user, **body)
        found = self.experiments().find(created.pk)
        nests.attach([found], self.user)
        return Response({"experiment": ExperimentSerializer(found).data}, status=201)


@extend_schema_view(**describes("experiment", "experiment", ExperimentSerializer, ExperimentChanges, NESTED))
class ExperimentDetail(ExperimentsOfOrg, DetailView):
    key = "experiment"
    answer = ExperimentSerializer
    changes_body = ExperimentChanges

    def find(self) -> Any:
        found = self.experiments().find(self.kwargs["experiment_id"])
        if self.nested():
            nests.attach([found], self.user)
        return found

    def remove(self, row: Any) -> None:
        authoring.delete_experiment(row, actor=self.user)
