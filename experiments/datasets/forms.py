"""The form of an import: a file, its format, and the experiment that it is for."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from unfold.contrib.import_export.forms import ImportForm
from unfold.widgets import UnfoldAdminSelectWidget

from experiments.datasets.formats import UPLOAD_MAX
from experiments.models import Experiment


class InputImportForm(ImportForm):  # type: ignore[misc]
    experiment = forms.ModelChoiceField(
        queryset=Experiment.objects.none(),
        widget=UnfoldAdminSelectWidget(),
        empty_label="Select an experiment",
    )
    field_order = ["resource", "experiment", "import_file", "format"]

    def __init__(self, *args: Any, experiments: QuerySet[Experiment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["experiment"].queryset = experiments

    def clean_import_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["import_file"]
        if (file.size or 0) > UPLOAD_MAX:
            raise forms.ValidationError(f"A file may have {UPLOAD_MAX // 1024 // 1024} MB.")
        return file
