"""Tags of experiments and inputs: short words in a list under `tags` in their metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard, TypeVar

from django.db import models, transaction

from evalsuite.audit import changes as audited
from evalsuite.audit.services import Event, record_many
from evalsuite.bulk import update_rows
from evalsuite.errors import Conflict, InvalidBody
from evalsuite.orgs.models import User
from evalsuite.parsers import require_storable
from experiments.models import Experiment, ExperimentInput

KEY = "tags"
LONGEST_TAG, MOST_TAGS = 64, 50
MOST_ROWS = 5_000  # at once
R = TypeVar("R", Experiment, ExperimentInput)


def tags_of(row: Experiment | ExperimentInput) -> list[str]:
    """Empty where there are none, and where metadata has something else under that name."""
    found: object = row.metadata.get(KEY) if isinstance(row.metadata, dict) else None
    return found if _are_tags(found) else []


def split(text: str) -> list[str]:
    """The tags in a text, between commas or line ends, each once. Raises InvalidBody for one too long."""
    tags = [" ".join(part.split()) for line in text.splitlines() for part in line.split(",")]
    require_storable(tags)
    found = list(dict.fromkeys(tag for tag in tags if tag))
    if long := next((tag for tag in found if len(tag) > LONGEST_TAG), None):
        raise InvalidBody({KEY: [f"A tag has at most {LONGEST_TAG} characters: {long[:LONGEST_TAG]}…"]})
    return found


def retag(rows: models.QuerySet[R], *, actor: User, add: Sequence[str], remove: Sequence[str]) -> int:
    """Of all rows or none; each that changes has its event. Answers how many did.

    Raises Conflict for too many rows, and for one that would have too many tags or whose metadata has
    something else under `tags`.
    """
    with transaction.atomic():
        locked = rows.select_for_update(of=("self",)).order_by("pk")
        found = list(locked[: MOST_ROWS + 1])
        if len(found) > MOST_ROWS:
            raise Conflict(f"At most {MOST_ROWS:,} rows can be tagged at once.")
        written, events = [], []
        for row in found:
            new = _metadata(row, add, remove)
            if new == row.metadata:
                continue
            before = audited.told(row, ["metadata"])
            row.metadata = new
            written.append((row.pk, {"metadata": new}))
            after = audited.told(row, ["metadata"])
            events.append(Event(_event(row), _org(row), actor, row, before, after))
        update_rows(rows.model, written)
        record_many(events)
    return len(written)


def _metadata(row: Experiment | ExperimentInput, add: Sequence[str], remove: Sequence[str]) -> dict[str, Any]:
    present = row.metadata.get(KEY, [])
    if not _are_tags(present):
        raise Conflict(f"{row}: its metadata has something else than a list of texts under `{KEY}`.")
    tags = [tag for tag in dict.fromkeys([*present, *add]) if tag not in remove]
    if len(tags) > MOST_TAGS:
        raise Conflict(f"{row} would have {len(tags)} tags; {MOST_TAGS} are the most.")
    others = {name: value for name, value in row.metadata.items() if name != KEY}
    return {**others, KEY: tags} if tags or KEY in row.metadata else row.metadata


def _are_tags(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


def _event(row: Experiment | ExperimentInput) -> str:
    return "experiment.updated" if isinstance(row, Experiment) else "experiment.input.updated"


def _org(row: Experiment | ExperimentInput) -> Any:
    return row.org if isinstance(row, Experiment) else row.experiment.org
