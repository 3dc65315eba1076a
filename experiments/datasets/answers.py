"""A file of an experiment as the answer to a request: the API and the console send the same one."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from django.utils.text import slugify

from evalsuite.errors import NotFound
from evalsuite.streams import in_steps
from experiments.datasets.files import KINDS
from experiments.datasets.tables import TABLES
from experiments.models import Batch, Experiment


def export(experiment: Experiment, *, table: str, kind: str, batch: Batch | None) -> StreamingHttpResponse:
    """The file as an answer that is made while it is sent. Raises NotFound for what there is no file of."""
    if table not in TABLES or kind not in KINDS:
        raise NotFound("export", tables=list(TABLES), formats=list(KINDS))
    form = KINDS[kind]
    pieces = form.pieces(TABLES[table](experiment, batch))
    response = StreamingHttpResponse(in_steps(pieces), content_type=form.content_type)
    name = slugify(experiment.name)[:60] or "experiment"
    response["Content-Disposition"] = f'attachment; filename="{name}-{table}.{kind}"'
    return response
