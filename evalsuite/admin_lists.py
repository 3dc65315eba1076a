"""Lists of the admin that may have millions of rows: the newest first, at a cost that does not grow."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

COUNTED = 1_000  # of a longer list no total is told, and its pages lead to the next and the previous one
SEARCHED = 10_000


def newest(rows: QuerySet[Any]) -> QuerySet[Any]:
    """The last SEARCHED of these rows. Ids grow with time."""
    ids = rows.order_by("-pk").values_list("pk", flat=True)
    oldest = list(ids[SEARCHED - 1 : SEARCHED])
    return rows.filter(pk__gte=oldest[0]) if oldest else rows


class LongChangeList(ChangeList):
    """Whoever sorts by a column sorts the newest of the rows that the filters leave."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found = super().get_queryset(request, exclude_parameters)
        return newest(found) if ORDER_VAR in request.GET else found


class LongList:
    """Put before the admin of a model that has a row for each cell, call or event. A search reads as far as a
    sort does, but finds a row by its whole id wherever it is.
    """

    ordering = ["-pk"]
    search_help_text = f"Search the newest {SEARCHED:,}, or an id"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LongChangeList

    def get_paginator(
        self, request: HttpRequest, queryset: QuerySet[Any], per_page: int, *args: Any, **kwargs: Any
    ) -> Paginator[Any]:
        is_long = queryset.order_by()[COUNTED : COUNTED + 1].exists()
        return (InfinitePaginator if is_long else Paginator)(queryset, per_page, *args, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if (row := _id(search_term)) is not None and (found := queryset.filter(Q(pk=row))).exists():
            return found, False
        rows = newest(queryset) if search_term else queryset
        return super().get_search_results(request, rows, search_term)  # type: ignore[misc,no-any-return]


def _id(term: str) -> UUID | None:
    try:
        return UUID(term.strip())
    except ValueError:
        return None
