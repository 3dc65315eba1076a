"""One row of an experiment written, changed or removed, with its audit event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models

from evalsuite.audit import changes as audited
from evalsuite.audit.changes import kind_of, told
from evalsuite.models import Row
from evalsuite.orgs.models import Org, User

__all__ = ["create", "delete", "kind_of", "told", "update"]

# What keeps a row: results must keep what produced them.
KEPT_BY: Mapping[str, tuple[str, ...]] = {
    "variant": ("runs",),
    "input": ("runs",),
    "metric": ("scores", "evaluators"),
    "evaluator": ("scores",),
}


def create(row: Row, *, org: Org, actor: User | None, facts: Mapping[str, Any]) -> None:
    """Save a new row; `facts` are what the event tells. Raises Conflict where it exists already."""
    audited.create(row, _event(row, "created"), org=org, actor=actor, facts=facts)


def update(row: Row, *, org: Org, actor: User | None, changes: Mapping[str, Any]) -> None:
    """Set the fields of `changes` (names of the model). Without a difference nothing is written.

    Raises Conflict where another row has the name that must be its own.
    """
    audited.update(row, _event(row, "updated"), org=org, actor=actor, changes=changes)


def delete(row: Row, *, org: Org, actor: User | None, facts: Mapping[str, Any] | None = None) -> None:
    """Remove a row that no result needs. Raises Conflict with the number of those that do."""
    kept_by = KEPT_BY.get(kind_of(row), ())
    audited.delete(row, _event(row, "deleted"), org=org, actor=actor, facts=facts, kept_by=kept_by)


def _event(row: models.Model, verb: str) -> str:
    kind = kind_of(row)
    return f"experiment.{verb}" if kind == "experiment" else f"experiment.{kind}.{verb}"
