"""The forms of an import: a file, its format and the experiment that it is for; then the confirmation."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core import signing
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from unfold.contrib.import_export.forms import ImportForm

from evalsuite.orgs.models import User
from evalsuite.uploads import UPLOAD_MAX
from experiments.datasets.uploads import read_ticket
from experiments.models import Experiment, ExperimentInput


class InputImportForm(ImportForm):  # type: ignore[misc]
    experiment = forms.ModelChoiceField(queryset=Experiment.objects.none())
    field_order = ["resource", "experiment", "import_file", "format"]

    def __init__(self, *args: Any, experiments: QuerySet[Experiment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["experiment"]
        field.queryset = experiments
        # Found by typing: a list of ten thousand would not be a choice.
        of_input = ExperimentInput._meta.get_field("experiment")
        field.widget = AutocompleteSelect(of_input, admin.site)
        field.widget.choices, field.widget.is_required = field.choices, True

    def clean_import_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["import_file"]
        if (file.size or 0) > UPLOAD_MAX:
            raise forms.ValidationError(f"A file may have {UPLOAD_MAX // 1024 // 1024} MB.")
        return file


class ConfirmForm(forms.Form):
    ticket = forms.CharField(widget=forms.HiddenInput())

    def __init__(self, *args: Any, user: User, experiments: QuerySet[Experiment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user, self.experiments = user, experiments

    def clean(self) -> dict[str, Any]:
        """`name`, `kind` and `experiment`, where the person may still write to it."""
        cleaned = super().clean() or {}
        try:
            facts = read_ticket(self.user.pk, cleaned.get("ticket", ""))
        except signing.BadSignature as error:
            raise forms.ValidationError("This upload has expired. Choose the file again.") from error
        experiment = self.experiments.filter(pk=facts["experiment"]).first()
        if experiment is None:
            raise forms.ValidationError("This experiment is gone.")
        return {**cleaned, **facts, "experiment": experiment}
