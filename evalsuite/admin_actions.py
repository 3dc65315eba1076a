"""Actions of the admin that ask something first: a page between the list and the deed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

ROWS_TOLD = 20


def is_answered(request: HttpRequest) -> bool:
    """Whether the page in between was sent, and not the list."""
    return "asked" in request.POST


def ask(
    request: HttpRequest,
    page: Any,
    action: str,
    form: forms.Form,
    rows: models.QuerySet[Any],
    *,
    title: str,
    button: str,
) -> HttpResponse:
    """The page in between. `page` is the model's admin; sending it calls the same action again."""
    shown = list(rows[: ROWS_TOLD + 1])
    context = {
        **page.admin_site.each_context(request),
        "title": title,
        "opts": page.model._meta,
        "action": action,
        "button": button,
        "form": form,
        "rows": shown[:ROWS_TOLD],
        "more": rows.count() - ROWS_TOLD if len(shown) > ROWS_TOLD else 0,
        "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "select_across": request.POST.get("select_across", "0"),
        "media": page.media + form.media,
    }
    return TemplateResponse(request, "admin/action_question.html", context)
