"""Lists of the admin that may have millions of rows: the newest first, at a cost that does not grow."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator


class LongChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        """Whoever sorts by a column sees the newest of the rows that the filters leave, sorted."""
        if ORDER_VAR in request.GET:
            # Here and not in `get_queryset`: a file of the rows, which comes without results, has them all.
            ids = cast("LongList", self.model_admin).newest_ids(self.queryset)
            rows = self.model._default_manager.filter(pk__in=ids).order_by(*self.queryset.query.order_by)
            self.queryset = self.apply_select_related(rows)
        super().get_results(request)
        if isinstance(self.paginator, InfinitePaginator):  # which tells a number that means nothing
            self.result_count = len(self.result_list)


class LongList:
    """Put before the admin of a model that has a row for each cell, call or event.

    `counted`: of a longer list no total is told, and its pages lead to the next and the previous one.
    `searched`: how many of the newest rows a search and a sort look at. A whole id is found wherever it is.
    """

    counted, searched = 1_000, 5_000
    ordering = ["-pk"]

    @property
    def search_help_text(self) -> str:
        return f"Search the newest {self.searched:,}, or an id"

    def newest_ids(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """The newest one first. Ids grow with time."""
        return rows.order_by("-pk").values_list("pk", flat=True)[: self.searched]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LongChangeList

    def get_paginator(
        self, request: HttpRequest, queryset: QuerySet[Any], per_page: int, *args: Any, **kwargs: Any
    ) -> Paginator[Any]:
        count = queryset.order_by()[: self.counted + 1].count()
        if count > self.counted:
            endless: Paginator[Any] = InfinitePaginator(queryset, per_page, *args, **kwargs)
            return endless
        paginator = Paginator(queryset, per_page, *args, **kwargs)
        paginator.count = count  # or it would be counted again
        return paginator

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        row = _id(search_term)
        if row is not None and (found := queryset.filter(pk=row)).exists():
            return found, False
        if search_term and (oldest := list(self.newest_ids(queryset)[self.searched - 1 :])):
            queryset = queryset.filter(pk__gte=oldest[0])
        return super().get_search_results(request, queryset, search_term)  # type: ignore[misc,no-any-return]


def _id(term: str) -> UUID | None:
    try:
        return UUID(term.strip())
    except ValueError:
        return None
