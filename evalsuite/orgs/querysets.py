"""The base of every read that begins with a URL: rows of one org, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

from django.db import models

from evalsuite.errors import NotFound
from evalsuite.ids import parse_id

if TYPE_CHECKING:
    from uuid import UUID

    from evalsuite.orgs.models import Org

M = TypeVar("M", bound=models.Model)


def find(rows: models.QuerySet[M], row_id: str | UUID) -> M:
    """The row with this id. Raises NotFound named after the model, also for an id that no row can have."""
    known = parse_id(str(row_id))
    row = rows.filter(pk=known).first() if known else None
    if row is None:
        raise NotFound(getattr(rows.model, "wire_name", str(rows.model._meta.verbose_name)))
    return row


class OrgScopedQuerySet(models.QuerySet[M], Generic[M]):
    """`org_path` is the look-up that leads from a row to its org."""

    org_path: ClassVar[str] = "org"

    def for_org(self, org: Org) -> Self:
        """Only rows that this org owns."""
        return self.filter(**{self.org_path: org})

    def find(self, row_id: str | UUID) -> M:
        """The row with this id among those already narrowed down to an org.

        Raises NotFound named after the model, also for an id that no row can have.
        """
        return find(self, row_id)
