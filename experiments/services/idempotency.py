"""A request sent again starts nothing new: the caller's `Idempotency-Key` names it for a day."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from evalsuite.clock import in_seconds
from evalsuite.errors import EvalsuiteError
from evalsuite.orgs.models import Org, User
from experiments.models import Batch
from experiments.models.runs import IdempotencyKey

HEADER = "Idempotency-Key"
KEPT_S = 24 * 3600


class KeyReused(EvalsuiteError):
    """The caller's key stands for another request already."""

    code, status = "IDEMPOTENCY_KEY_REUSED", 422

    def __init__(self) -> None:
        super().__init__(
            f"This {HEADER} was sent with another request before. Send a new key, or the same request.",
            header=HEADER,
        )


@dataclass(frozen=True, slots=True)
class Once:
    """A request that must start something once only, however often it is sent.

    `fingerprint` is that of the request's address and body: another one under the same key is refused.
    """

    org: Org
    user: User
    key: str
    fingerprint: str

    @classmethod
    def of(cls, *, org: Org, user: User, key: str, address: str, body: Any) -> Once:
        text = json.dumps([address, body], sort_keys=True, separators=(",", ":"))
        return cls(org, user, key, hashlib.sha256(text.encode()).hexdigest())

    def started(self) -> Batch | None:
        """What this very request started before; None where it is new. Raises KeyReused."""
        rows = IdempotencyKey.objects.filter(org=self.org, user=self.user, key=self.key)
        row = rows.select_related("batch").first()
        if row is None:
            return None
        if row.fingerprint != self.fingerprint:
            raise KeyReused
        return row.batch

    def claim(self, batch_id: UUID) -> None:
        """In the transaction that writes the batch: IntegrityError where another request was faster.

        Where that one has not committed yet, PostgreSQL waits for its end here.
        """
        IdempotencyKey.objects.create(
            org=self.org, user=self.user, key=self.key, fingerprint=self.fingerprint, batch_id=batch_id
        )


def outdated() -> QuerySet[IdempotencyKey]:
    """Keys that nobody need remember any more."""
    return IdempotencyKey.objects.filter(created_at__lt=in_seconds(-KEPT_S))
