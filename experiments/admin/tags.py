"""Tags in the lists of experiments and inputs, and an action that adds and removes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminTextInputWidget

from evalsuite.admin_actions import ask, is_answered
from evalsuite.errors import EvalsuiteError
from experiments.models import Experiment
from experiments.services import tagging


class TagsField(forms.CharField):
    """Tags between commas, as a list."""

    widget = UnfoldAdminTextInputWidget

    def clean(self, value: Any) -> Any:
        try:
            return tagging.split(super().clean(value) or "")
        except EvalsuiteError as error:
            raise forms.ValidationError(str(error)) from error


class TagsForm(forms.Form):
    add = TagsField(required=False, max_length=2_000, help_text="Between commas.")
    remove = TagsField(required=False, max_length=2_000, help_text="Between commas.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and not (cleaned["add"] or cleaned["remove"]):
            raise forms.ValidationError("Name a tag to add or to remove.")
        if both := set(cleaned.get("add", ())) & set(cleaned.get("remove", ())):
            raise forms.ValidationError(f"{', '.join(sorted(both))}: add it or remove it?")
        return cleaned


class TagsMixin:
    """For an OrgScopedAdmin of rows with metadata."""

    has_write_permission: Callable[..., bool]
    message_user: Callable[..., None]
    actor: Callable[..., Any]

    @admin.display(description="Tags")
    def tags(self, row: Any) -> str:
        return ", ".join(tagging.tags_of(row))

    @admin.action(description="Edit tags", permissions=["write"])
    def edit_tags(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        """A row that one may only look at stops all of it: nothing is changed then."""
        form = TagsForm(request.POST if is_answered(request) else None)
        if form.is_valid():
            if not all(self.has_write_permission(request, row) for row in queryset):
                raise PermissionDenied
            rows = self._plain(queryset)
            try:
                count = tagging.retag(rows, actor=self.actor(request), **form.cleaned_data)
            except EvalsuiteError as error:
                form.add_error(None, str(error))
            else:
                name = (
                    queryset.model._meta.verbose_name
                    if count == 1
                    else queryset.model._meta.verbose_name_plural
                )
                self.message_user(request, f"{count:,} {name} changed.", messages.SUCCESS)
                return None
        return ask(request, self, "edit_tags", form, queryset, title="Edit tags", button="Change tags")

    @staticmethod
    def _plain(queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """The same rows, without the joins of the list's search."""
        to_org = "org" if queryset.model is Experiment else "experiment__org"
        rows: models.QuerySet[Any] = queryset.model._default_manager.select_related(to_org)
        return rows.filter(pk__in=queryset.order_by().values("pk"))
