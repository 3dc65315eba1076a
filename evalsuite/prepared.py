"""Queries that are written with the ORM, compiled once, and run with other values each time.

Django spends several times longer on composing a query than any of our databases on answering it. On the
path of every call to a model that is most of what a user waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from django.db import connection, models
from django.db.models.query import get_related_populators

M = TypeVar("M", bound=models.Model)


class Prepared(Generic[M]):
    """`build` composes the query from stand-ins for its values, so it may not look at them.

    Values are ids and texts. Rows come as the model's own fields, with annotations and with those related
    rows that `select_related` names; where the query has `values`, as dicts from `rows`.
    """

    def __init__(self, build: Callable[..., models.QuerySet[M]], *kinds: type[UUID] | type[str]) -> None:
        self._build = build
        self._kinds = kinds
        self._compiled: dict[str, _Compiled[M]] = {}  # by vendor

    def all(self, *values: UUID | str) -> list[M]:
        compiled, found = self._found(values)
        return [compiled.instance(row) for row in found]

    def rows(self, *values: UUID | str) -> list[dict[str, Any]]:
        compiled, found = self._found(values)
        return [dict(zip(compiled.names, compiled.converted(row), strict=True)) for row in found]

    def _found(self, values: Sequence[UUID | str]) -> tuple[_Compiled[M], list[tuple[Any, ...]]]:
        compiled = self._compiled.get(connection.vendor)
        if compiled is None:
            compiled = self._compiled[connection.vendor] = self._compile()
        given = [_as_kept(value) for value in values]
        filled = [given[each.place] if isinstance(each, _Place) else each for each in compiled.parameters]
        with connection.cursor() as cursor:
            cursor.execute(compiled.statement, filled)
            return compiled, cursor.fetchall()

    def first(self, *values: UUID | str) -> M | None:
        return next(iter(self.all(*values)), None)

    def _compile(self) -> _Compiled[M]:
        marks = [kind(str(uuid4())) for kind in self._kinds]
        query = self._build(*marks)
        places = {_as_kept(mark): _Place(number) for number, mark in enumerate(marks)}
        compiler = query.query.get_compiler(connection=connection)
        statement, parameters = compiler.as_sql()
        filled = [places.get(each, each) for each in parameters]
        if missing := set(places.values()) - set(filled):
            raise AssertionError(f"the query does not use its values {missing}")
        return _Compiled.of(compiler, statement, filled)


@dataclass(frozen=True, slots=True)
class _Compiled(Generic[M]):
    """A statement, and how Django's compiler would make objects of its rows.

    `names` are those of the fields, or of all columns where the query has `values`.
    """

    statement: str
    parameters: Sequence[Any]
    converters: list[tuple[int, Any, Any]]
    model: type[M]
    fields: slice
    names: list[str]
    related: Sequence[Any] = ()
    annotations: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, compiler: Any, statement: str, parameters: Sequence[Any]) -> _Compiled[M]:
        found = compiler.get_converters([expression for expression, _, _ in compiler.select])
        converters = [(place, functions, expression) for place, (functions, expression) in found.items()]
        query, facts = compiler.query, compiler.klass_info
        if query.selected:  # by `values`
            return cls(statement, parameters, converters, query.model, slice(0), list(query.selected))
        columns = facts["select_fields"]
        fields = slice(columns[0], columns[-1] + 1)
        return cls(
            statement,
            parameters,
            converters,
            facts["model"],
            fields,
            [expression.target.attname for expression, _, _ in compiler.select[fields]],
            get_related_populators(facts, compiler.select, connection.alias),  # type: ignore[call-arg]
            compiler.annotation_col_map,
        )

    def converted(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, functions, expression in self.converters:
            for convert in functions:
                values[place] = convert(values[place], expression, connection)
        return values

    def instance(self, row: Sequence[Any]) -> M:
        values = self.converted(row)
        one = self.model.from_db(connection.alias, self.names, values[self.fields])
        for populator in self.related:
            populator.populate(values, one)
        for name, place in self.annotations.items():
            setattr(one, name, values[place])
        return one


class _Place:
    """Where the value of this number goes."""

    def __init__(self, number: int) -> None:
        self.place = number


def _as_kept(value: UUID | str) -> Any:
    """An id in the database's form."""
    return value.hex if isinstance(value, UUID) and not connection.features.has_native_uuid_field else value
