"""Queries that are written with the ORM, compiled once, and run with other values each time.

Django spends several times longer on composing a query than any of our databases on answering it. On the
path of every call to a model that is most of what a user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from django.db import connection, models

M = TypeVar("M", bound=models.Model)


class Prepared(Generic[M]):
    """`build` composes the query from stand-ins for its values, so it may not look at them.

    Values are ids and texts. Rows come as the model's own fields, without those of related ones.
    """

    def __init__(self, build: Callable[..., models.QuerySet[M]], *kinds: type[UUID] | type[str]) -> None:
        self._build = build
        self._kinds = kinds
        self._compiled: dict[str, tuple[type[M], str, Sequence[Any]]] = {}  # by vendor

    def all(self, *values: UUID | str) -> list[M]:
        vendor = connection.vendor
        if vendor not in self._compiled:
            self._compiled[vendor] = self._compile()
        model, statement, parameters = self._compiled[vendor]
        given = [_as_kept(value) for value in values]
        filled = [given[each.place] if isinstance(each, _Place) else each for each in parameters]
        return list(model._base_manager.raw(statement, filled))

    def first(self, *values: UUID | str) -> M | None:
        return next(iter(self.all(*values)), None)

    def _compile(self) -> tuple[type[M], str, Sequence[Any]]:
        marks = [kind(str(uuid4())) for kind in self._kinds]
        query = self._build(*marks)
        places = {_as_kept(mark): _Place(number) for number, mark in enumerate(marks)}
        statement, parameters = query.query.sql_with_params()
        filled = [places.get(each, each) for each in parameters]
        if missing := set(places.values()) - set(filled):
            raise AssertionError(f"the query does not use its values {missing}")
        return query.model, statement, filled


class _Place:
    """Where the value of this number goes."""

    def __init__(self, number: int) -> None:
        self.place = number


def _as_kept(value: UUID | str) -> Any:
    """An id in the database's form."""
    return value.hex if isinstance(value, UUID) and not connection.features.has_native_uuid_field else value
