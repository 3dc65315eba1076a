"""The admin's pages of an import: a form, a preview that writes nothing, and the import itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST
from import_export.admin import ImportExportMixin
from unfold.contrib.import_export.forms import ExportForm

from evalsuite.errors import EvalsuiteError
from experiments.datasets.formats import FORMATS
from experiments.datasets.forms import ConfirmForm, InputImportForm
from experiments.datasets.resources import ROWS_SHOWN, InputResource
from experiments.datasets.uploads import KeptUpload, ticket
from experiments.models import Experiment


class InputFilesMixin(ImportExportMixin):  # type: ignore[misc]
    """For an admin of inputs, which must say in `writable_experiments` what one may import into."""

    resource_classes = [InputResource]
    formats = FORMATS
    import_form_class = InputImportForm
    confirm_form_class = ConfirmForm
    export_form_class = ExportForm
    tmp_storage_class = KeptUpload
    message_user: Callable[..., None]

    def writable_experiments(self, request: HttpRequest) -> QuerySet[Experiment]:
        raise NotImplementedError

    def get_import_formats(self) -> list[Any]:
        return [kind for kind in FORMATS if kind().can_import()]

    def get_export_formats(self) -> list[Any]:
        return FORMATS

    def get_import_form_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        return {
            **super().get_import_form_kwargs(request),
            "experiments": self.writable_experiments(request),
        }

    def get_import_form_initial(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_import_form_initial(request), "experiment": request.GET.get("experiment")}

    def get_confirm_form_kwargs(self, request: HttpRequest, import_form: Any = None) -> dict[str, Any]:
        kwargs = super().get_confirm_form_kwargs(request, import_form)
        return {**kwargs, "user": request.user, "experiments": self.writable_experiments(request)}

    def get_confirm_form_initial(self, request: HttpRequest, import_form: Any) -> dict[str, Any]:
        if import_form is None:
            return {}
        chosen = import_form.cleaned_data
        name = chosen["import_file"].tmp_storage_name
        kind, experiment = chosen["format"], chosen["experiment"]
        return {"ticket": ticket(request.user.pk, name=name, kind=kind, experiment_id=experiment.pk)}

    def get_import_resource_kwargs(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        form = kwargs.get("form")
        chosen = getattr(form, "cleaned_data", {}).get("experiment")
        return {"experiment": chosen, "author": request.user}

    def add_data_read_fail_error_to_form(self, form: forms.Form, e: Exception) -> None:
        if not isinstance(e, EvalsuiteError):
            raise e
        form.add_error("import_file", str(e))

    def import_action(self, request: HttpRequest, **kwargs: Any) -> Any:
        answer = super().import_action(request, **kwargs)
        kept = getattr(request.FILES.get("import_file"), "tmp_storage_name", None)
        if "confirm_form" in answer.context_data:
            rows = answer.context_data["result"].total_rows
            shown = f" The first {ROWS_SHOWN} are shown." if rows > ROWS_SHOWN else ""
            experiment = answer.context_data["form"].cleaned_data["experiment"]
            note = f"{rows:,} {'input' if rows == 1 else 'inputs'} for “{experiment}”, all without fault."
            self.message_user(request, note + shown, messages.INFO)
        elif kept:
            KeptUpload(name=kept).remove()
        return answer

    @method_decorator(require_POST)
    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if not self.has_import_permission(request):
            raise PermissionDenied
        form = self.create_confirm_form(request)
        if not form.is_valid():
            return self._again(request, [str(why) for why in form.non_field_errors()])
        upload = KeptUpload(name=form.cleaned_data["name"])
        try:
            data = upload.read()
        except FileNotFoundError:
            return self._again(request, ["This upload has expired. Choose the file again."])
        dataset = self.get_import_formats()[int(form.cleaned_data["kind"])]().create_dataset(data)
        result = self.process_dataset(dataset, form, request, **kwargs)
        upload.remove()
        if result.has_errors():  # what was right when it was shown, and is no more
            return self._again(request, [str(fault.error) for fault in result.base_errors])
        answer: HttpResponse = self.process_result(result, request)
        return answer

    def add_success_message(self, result: Any, request: HttpRequest) -> None:
        rows = result.total_rows
        self.message_user(
            request, f"{rows:,} {'input was' if rows == 1 else 'inputs were'} imported.", messages.SUCCESS
        )

    def _again(self, request: HttpRequest, reasons: list[str]) -> HttpResponse:
        for reason in reasons:
            self.message_user(request, reason, messages.ERROR)
        return redirect("admin:experiments_experimentinput_import")
