"""Files in and out: a test set is imported after a preview, and results are taken along."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import Any

from django import forms
from django.contrib import messages
from django.core import signing
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render

from evalsuite.errors import EvalsuiteError, InvalidBody
from evalsuite.orgs.console import OrgPage
from evalsuite.uploads import UPLOAD_MAX
from experiments.datasets import mapping
from experiments.datasets.answers import export
from experiments.datasets.checking import COLUMNS, PREFIX
from experiments.datasets.reading import READERS, Reading, kind_of_file, kind_of_text, read
from experiments.datasets.uploads import KeptUpload, read_ticket, ticket
from experiments.models import Experiment
from experiments.services import authoring

ROWS_SHOWN = 20
PROBLEMS_SHOWN = 200
TARGETS = [
    (mapping.LEFT_OUT, "Leave out"),
    *((name, name) for name in COLUMNS),
    (PREFIX, "a value of metadata"),
]
EXPIRED = "This upload has expired. Choose the file again."


class SourceForm(forms.Form):
    """Where the inputs come from: a file, pasted text, or what was kept of an earlier step."""

    file = forms.FileField(required=False, allow_empty_file=True)
    text = forms.CharField(required=False, strip=False, max_length=UPLOAD_MAX)
    ticket = forms.CharField(required=False, max_length=2_000)


class ImportInputs(OrgPage):
    """Step by step: what came is kept, shown with its faults, and written when nothing is wrong with it."""

    required_permission = "org:experiments:write"

    def get(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        return self._page(self._experiment(experiment_id))

    def post(self, request: HttpRequest, org_id: str, experiment_id: str) -> HttpResponse:
        experiment = self._experiment(experiment_id)
        kept = ""
        try:
            upload, kind = self._source(experiment)
            kept = upload.name
            with upload.open() as file:
                reading = read(experiment, file, kind=kind, targets=self._targets())
            if "import" in request.POST and not reading.problems:
                authoring.add_new_inputs(experiment=experiment, author=self.user, rows=reading.rows)
                upload.remove()
                messages.success(request, _count(len(reading.rows)))
                return redirect("console:experiment", self.org.pk, experiment.pk)
        except EvalsuiteError as error:
            if kept:
                KeptUpload(name=kept).remove()
            return self._page(experiment, problem=_in_words(error))
        again = ticket(self.user.pk, name=kept, kind=kind, experiment_id=experiment.pk)
        return self._page(experiment, reading=reading, ticket=again)

    def _experiment(self, experiment_id: str) -> Experiment:
        return Experiment.objects.for_org(self.org).find(experiment_id)

    def _source(self, experiment: Experiment) -> tuple[KeptUpload, str]:
        """The kept upload, and of which kind it is. Raises InvalidBody."""
        form = SourceForm(self.request.POST, self.request.FILES)
        if not form.is_valid():
            raise InvalidBody({name: list(map(str, why)) for name, why in form.errors.items()})
        given = form.cleaned_data
        if given["ticket"]:
            return self._kept(experiment, given["ticket"])
        file, text = given["file"], given["text"]
        if file is None and not text.strip():
            raise InvalidBody({"file": ["Choose a file, or paste a table."]})
        if file is not None and file.size > UPLOAD_MAX:
            raise InvalidBody({"file": [f"A file may have {UPLOAD_MAX // 1024 // 1024} MB."]})
        kind = kind_of_file(file.name) if file else kind_of_text(text)
        upload = KeptUpload(name=None)
        upload.keep(file.chunks() if file else [text.encode(errors="surrogatepass")])
        return upload, kind

    def _kept(self, experiment: Experiment, text: str) -> tuple[KeptUpload, str]:
        try:
            facts = read_ticket(self.user.pk, text)
        except signing.BadSignature:
            raise InvalidBody({"file": [EXPIRED]}) from None
        upload = KeptUpload(name=facts["name"])
        if facts["experiment"] != str(experiment.pk) or facts["kind"] not in READERS or not upload.exists():
            raise InvalidBody({"file": [EXPIRED]})
        return upload, facts["kind"]

    def _targets(self) -> list[str] | None:
        """What each column becomes, where a person has said so."""
        given = self.request.POST.getlist("target")
        names = self.request.POST.getlist("metadata_name")
        if not given:
            return None
        return [
            f"{PREFIX}{name.strip()}" if target == PREFIX else target
            for target, name in zip_longest(given, names[: len(given)], fillvalue="")
        ]

    def _page(
        self, experiment: Experiment, *, reading: Reading | None = None, ticket: str = "", problem: str = ""
    ) -> HttpResponse:
        context: dict[str, Any] = {
            "experiment": experiment,
            "problem": problem,
            "reading": reading,
            "ticket": ticket,
            "endings": ",".join(f".{kind}" for kind in READERS),
            "largest": UPLOAD_MAX // 1024 // 1024,
        }
        if reading:
            context |= {
                "targets": TARGETS,
                "rows": [
                    {**row._asdict(), "metadata": json.loads(row.metadata)}
                    for row in reading.rows[:ROWS_SHOWN]
                ],
                "problems": reading.problems[:PROBLEMS_SHOWN],
                "more_problems": len(reading.problems[PROBLEMS_SHOWN:]),
            }
        status = 400 if problem else 200
        return render(self.request, "experiments/import.html", context, status=status)


def _count(rows: int) -> str:
    return f"{rows:,} {'input was' if rows == 1 else 'inputs were'} imported."


def _in_words(error: EvalsuiteError) -> str:
    """The reasons of a refusal, each with what it is about, but for the file itself."""
    if isinstance(error, InvalidBody):
        reasons = (
            f"{'' if field in ('file', 'text') else f'{field}: '}{' '.join(why)}"
            for field, why in error.details.items()
        )
        return " ".join(reasons)
    keys = ", ".join(map(str, error.details.get("keys", [])[:ROWS_SHOWN]))
    return f"{error.message} {keys}".strip()


class Export(OrgPage):
    required_permission = "org:experiments:read"

    def get(
        self, request: HttpRequest, org_id: str, experiment_id: str, table: str, kind: str
    ) -> StreamingHttpResponse:
        experiment = Experiment.objects.for_org(self.org).find(experiment_id)
        wanted = request.GET.get("batch")
        batch = experiment.batches.find(wanted) if wanted else None
        return export(experiment, table=table, kind=kind, batch=batch)
