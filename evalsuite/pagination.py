"""Lists, page by page: `?limit=` (50, at most 200) and an opaque cursor."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response


class NewestFirst(CursorPagination):
    """`{KEY: [...], "next": url or null}`; the view names KEY as `list_key`."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"
    ordering = "-id"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        self.list_key = view.list_key
        self.ordering = getattr(view, "list_ordering", self.ordering)
        return super().paginate_queryset(queryset, request, view)

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        if (
            len(text) > 3
            or not text.isascii()
            or not text.isdigit()
            or not 1 <= int(text) <= self.max_page_size
        ):
            raise ValidationError({"limit": [f"This must be a whole number from 1 to {self.max_page_size}."]})
        return int(text)

    def get_paginated_response(self, data: Any) -> Response:
        return Response({self.list_key: data, "next": self.get_next_link()})


class Ranked(NewestFirst):
    """Rows in an order of their own, that none of their columns tells: the cursor counts those before."""

    offset_cutoff = 1_000_000

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        self.list_key, self.base_url = view.list_key, request.build_absolute_uri()
        size, cursor = self.get_page_size(request), self.decode_cursor(request)
        begin = cursor.offset if cursor else 0
        rows = list(queryset[begin : begin + size + 1])
        self.following = Cursor(begin + size, reverse=False, position=None) if len(rows) > size else None
        return rows[:size]

    def get_next_link(self) -> str | None:
        return self.encode_cursor(self.following) if self.following else None
