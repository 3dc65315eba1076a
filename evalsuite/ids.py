"""Ids: UUID version 7, so that they sort by the time they were made and tell nothing else."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()


def parse_id(text: str) -> UUID | None:
    """The id in a URL or a body, or None where no object can have it."""
    try:
        return UUID(text)
    except (ValueError, AttributeError, TypeError):
        return None
