"""Files of an experiment: its inputs, its runs, and their scores."""

from __future__ import annotations

from typing import ClassVar

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from evalsuite.documents import READ_ERRORS
from evalsuite.streams import StreamNegotiation
from experiments.api.base import READ, ExperimentsView
from experiments.datasets.answers import export
from experiments.datasets.files import KINDS
from experiments.datasets.tables import TABLES
from experiments.models import Batch


class Export(ExperimentsView):
    required_permission: ClassVar = READ
    content_negotiation_class = StreamNegotiation

    @extend_schema(
        operation_id="experiment_export",
        description="Inputs come in the form that an import takes. Text in CSV and XLSX that a spreadsheet "
        "could take for a formula has an apostrophe before it; an import takes it away again.",
        parameters=[
            OpenApiParameter("table", str, OpenApiParameter.PATH, enum=list(TABLES)),
            OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=list(KINDS)),
            OpenApiParameter("batchId", str, description="Only what belongs to this batch."),
        ],
        responses={
            **{
                (200, kind.content_type.partition(";")[0]): OpenApiResponse(bytes, "The file.")
                for kind in KINDS.values()
            },
            **READ_ERRORS,
        },
    )
    def get(self, request: Request, table: str, kind: str, **ids: str) -> StreamingHttpResponse:
        experiment = self.experiment
        batch_id = request.query_params.get("batchId")
        batch = (
            Batch.objects.for_org(self.org).filter(experiment=experiment).find(batch_id) if batch_id else None
        )
        return export(experiment, table=table, kind=kind, batch=batch)
