"""What every admin page of ours shares: rows of one's own orgs, and an audit event for each write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline

from evalsuite.admin_fields import overrides
from evalsuite.admin_history import AuditedHistory
from evalsuite.audit import changes
from evalsuite.audit.services import record
from evalsuite.errors import EvalsuiteError
from evalsuite.orgs.models import Membership, Org, User
from evalsuite.orgs.permissions import ROLE_PERMISSIONS, Permission

KIND_NAMES: dict[type, str] = {dict: "object", list: "list"}


def org_ids(request: HttpRequest, permission: Permission) -> set[UUID]:
    """The orgs where this person's role has the permission; read once for each request."""
    roles: dict[UUID, str] | None = getattr(request, "admin_roles", None)
    if roles is None:
        roles = dict(Membership.objects.filter(user=cast("User", request.user)).values_list("org_id", "role"))
        request.admin_roles = roles  # type: ignore[attr-defined]
    return {org for org, role in roles.items() if permission in ROLE_PERMISSIONS[role]}


def scope_of(model: type[models.Model]) -> OrgScopedAdmin | None:
    """The admin that knows how a row of this model leads to its org."""
    found = admin.site._registry.get(model)
    return found if isinstance(found, OrgScopedAdmin) else None


def org_of(row: models.Model) -> Org | None:
    """The org that owns a row; None for what the operator shares and for what has no owner."""
    scope = scope_of(type(row))
    if isinstance(row, Org) or scope is None:
        return row if isinstance(row, Org) else None
    value: Any = row
    for name in scope.org_path.split("__"):
        value = getattr(value, name, None)
    return value if isinstance(value, Org) else None


def in_console(name: str, org: Org | None, *ids: object) -> str | None:
    """The address of a console page, for "view on site"; None where there is no org to see it in."""
    return reverse(f"console:{name}", args=[org.pk, *ids]) if org else None


def _names(row: models.Model) -> list[str]:
    """The fields of a row that an event may tell of."""
    return [field.name for field in row._meta.concrete_fields if not field.primary_key]


def _differences(before: models.Model, row: models.Model) -> list[str]:
    """The fields that differ. A form may take other ones for changed, and set some that it has not."""
    fields = [field for field in row._meta.concrete_fields if not getattr(field, "auto_now", False)]
    return [one.name for one in fields if getattr(before, one.attname) != getattr(row, one.attname)]


def _others(form: forms.ModelForm[Any] | None) -> dict[str, tuple[list[str], list[str]]]:
    """The ids that a form's many-to-many fields had and have, where they differ."""
    if form is None:
        return {}
    names = [field.name for field in form.instance._meta.many_to_many if field.name in form.cleaned_data]
    told = {name: (_ids(form.initial.get(name, ())), _ids(form.cleaned_data[name])) for name in names}
    return {name: (was, now) for name, (was, now) in told.items() if was != now}


def _ids(rows: Iterable[Any]) -> list[str]:
    return sorted(str(getattr(row, "pk", row)) for row in rows)


class OrgForm(forms.ModelForm):
    """A row stays in orgs that one may write to, and refers to rows of its own org only."""

    request: HttpRequest
    write_permission: Permission

    def clean(self) -> dict[str, Any] | None:
        """JSON left empty is the field's default; otherwise it must be of the same type."""
        cleaned = super().clean() or self.cleaned_data
        for field in self.instance._meta.fields:
            if not isinstance(field, models.JSONField) or field.name not in cleaned:
                continue
            default, value = field.get_default(), cleaned[field.name]
            if value is None:
                cleaned[field.name] = default
            elif not isinstance(value, type(default)):
                self.add_error(field.name, f"This must be a JSON {KIND_NAMES[type(default)]}.")
        return cleaned

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors or scope_of(type(self.instance)) is None:
            return
        org = org_of(self.instance)
        if not self.request.user.is_superuser:
            is_new_org = isinstance(self.instance, Org)
            if not is_new_org and (org is None or org.pk not in org_ids(self.request, self.write_permission)):
                self.add_error(None, "Choose an organisation in which you may do this.")
                return
        for field in self.instance._meta.fields:
            if field.name not in self.fields or not isinstance(field, models.ForeignKey):
                continue
            other = getattr(self.instance, field.name)
            owner = org_of(other) if other is not None else None
            if owner is not None and org is not None and owner != org:
                self.add_error(field.name, "This belongs to another organisation.")


class OrgScope:
    """Permissions and choices, for pages and for inlines alike. An inline is asked about its parent."""

    view_permission: Permission = "org:experiments:read"
    write_permission: Permission = "org:experiments:write"
    model: type[models.Model]

    def _may(self, request: HttpRequest, permission: Permission, row: models.Model | None) -> bool:
        user = request.user
        if not (user.is_active and user.is_staff):
            return False
        if user.is_superuser:
            return True
        orgs = org_ids(request, permission)
        if row is None:
            return bool(orgs)
        owner = org_of(row)
        return owner is not None and owner.pk in orgs

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self._may(request, self.view_permission, obj) or self._may(request, self.write_permission, obj)

    def has_write_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """For actions: also on pages that are read-only otherwise."""
        return self._may(request, self.write_permission, obj)

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self._may(request, self.write_permission, obj)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self._may(request, self.write_permission, obj)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self._may(request, self.write_permission, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def choices(self, model: type[models.Model], request: HttpRequest) -> models.QuerySet[Any] | None:
        """The rows that a field of this page may refer to; None for all."""
        scope = scope_of(model)
        if request.user.is_superuser or scope is None:
            return None
        return scope.rows_of(model._default_manager.all(), org_ids(request, self.write_permission))

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> forms.ModelChoiceField[Any] | None:
        if "queryset" not in kwargs and (rows := self.choices(db_field.related_model, request)) is not None:
            kwargs["queryset"] = rows
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc,no-any-return]

    def formfield_for_manytomany(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> forms.ModelMultipleChoiceField[Any] | None:
        if "queryset" not in kwargs and (rows := self.choices(db_field.related_model, request)) is not None:
            kwargs["queryset"] = rows
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc,no-any-return]


class OrgScopedAdmin(OrgScope, AuditedHistory, ModelAdmin):  # type: ignore[misc]
    """`org_path` leads from a row to its org. `shared`: rows without an org may be seen by all staff."""

    org_path = "org"
    shared = False
    form = OrgForm
    show_full_result_count = False
    list_per_page = 50
    compressed_fields = True
    formfield_overrides = overrides(rows=6)

    def rows_of(self, rows: models.QuerySet[Any], orgs: Iterable[UUID]) -> models.QuerySet[Any]:
        owned = models.Q(**{f"{self.org_path}__in": list(orgs)})
        return rows.filter(owned | models.Q(**{self.org_path: None}) if self.shared else owned)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request)
        if request.user.is_superuser:
            return rows
        return self.rows_of(
            rows, org_ids(request, self.view_permission) | org_ids(request, self.write_permission)
        )

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        """As everywhere: what is not there for this person is a 404. (Django would lead to the index.)"""
        raise Http404

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        shared = self.shared and obj is not None and org_of(obj) is None
        return super().has_view_permission(request, None if shared else obj)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.request, form.write_permission = request, self.write_permission
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        with transaction.atomic():
            before = self._stored(obj) if change else None
            super().save_model(request, obj, form, change)
            names = _differences(before, obj) if before else form.changed_data
            self.tell(request, obj, "changed" if change else "created", names, before=before, form=form)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            self.tell(request, obj, "deleted", before=obj)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        with transaction.atomic():
            for row in queryset:
                self.tell(request, row, "deleted", before=row)
            super().delete_queryset(request, queryset)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        with transaction.atomic():
            stored = formset.model._default_manager.in_bulk(
                [one.instance.pk for one in formset.initial_forms]
            )
            gone = [stored[one.instance.pk] for one in formset.deleted_forms if one.instance.pk in stored]
            super().save_formset(request, form, formset, change)
            for row in formset.new_objects:
                self.tell(request, row, "created", _names(row))
            for row, _ in formset.changed_objects:
                before = stored[row.pk]
                self.tell(request, row, "changed", _differences(before, row), before=before)
            for row in gone:  # as it was read before: a row that was deleted has no id
                self.tell(request, row, "deleted", before=row)

    def _stored(self, row: models.Model) -> models.Model | None:
        """The row as it is in the database still."""
        return type(row)._default_manager.filter(pk=row.pk).first()

    def tell(
        self,
        request: HttpRequest,
        row: models.Model,
        what: str,
        names: Iterable[str] | None = None,
        *,
        before: models.Model | None = None,
        form: forms.ModelForm[Any] | None = None,
    ) -> None:
        """The audit event of one write, with the fields in `names`; there is none of a change in no field.

        `form` knows the rows on the other side of many-to-many fields.
        """
        fields = (
            _names(row) if what == "deleted" else [name for name in _names(row) if name in set(names or ())]
        )
        old = changes.told(before, fields) if before else {}
        new = {} if what == "deleted" else changes.told(row, fields)
        for name, (was, now) in _others(form).items():
            old[name], new[name] = was, now
        if what == "changed" and not new:
            return
        record(
            f"admin.{row._meta.model_name}.{what}",
            org=org_of(row),
            actor=self.actor(request),
            subject=row,
            before=old if before else None,
            after=new or None,
        )

    def actor(self, request: HttpRequest) -> User:
        return cast("User", request.user)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refusals_as_messages(super().changeform_view, request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refusals_as_messages(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refusals_as_messages(super().changelist_view, request, *args, **kwargs)

    def _refusals_as_messages(
        self, view: Callable[..., HttpResponse], request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except EvalsuiteError as error:
            if request.method != "POST":
                raise
            self.message_user(request, str(error), messages.ERROR)
            return redirect(request.get_full_path())

    def act(self, request: HttpRequest, queryset: models.QuerySet[Any], work: Callable[[Any], str]) -> None:
        """Do `work` on each row that one may write to; what it answers or refuses becomes a message."""
        for row in queryset:
            if not self.has_write_permission(request, row):
                self.message_user(request, f"{row}: you may not do this here.", messages.ERROR)
                continue
            try:
                self.message_user(request, f"{row}: {work(row)}", messages.SUCCESS)
            except EvalsuiteError as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)


class OrgScopedInline(OrgScope, TabularInline):  # type: ignore[misc]
    """`list_select_related`: what the names of the rows are made of."""

    form = OrgForm
    extra = 0
    hide_title = True
    formfield_overrides = overrides(rows=3)
    list_select_related: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.select_related(*self.list_select_related) if self.list_select_related else rows

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        formset.request = formset.form.request = request
        formset.form.write_permission = self.write_permission
        return formset


class ReadOnlyAdmin:
    """What the product has written is looked at here, and never changed."""

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


class ScopedRelatedFilter(admin.RelatedFieldListFilter):
    """A filter by related rows that offers only those one may see."""

    def has_output(self) -> bool:
        return True  # Django would not apply a filter that has one choice only

    def field_choices(
        self, field: Any, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, Any]]:
        scope = scope_of(field.related_model)
        rows = scope.get_queryset(request)[:200] if scope else []
        return [(str(row.pk), str(row)) for row in rows]
