"""Sessions in the database, under digests of their keys: whoever reads the table can open none."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as PlainStore
from django.utils import timezone


def digest(session_key: str) -> str:
    """As long as the column: 160 bits."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]


class SessionStore(PlainStore):
    """Django's, which would keep what the cookie says as it is."""

    def _get_session_from_db(self) -> Any:
        row = self._rows().first() if self.session_key else None
        if row is None:
            self._session_key = None
        return row

    async def _aget_session_from_db(self) -> Any:
        row = await self._rows().afirst() if self.session_key else None
        if row is None:
            self._session_key = None
        return row

    def _rows(self) -> Any:
        key = digest(self.session_key or "")
        return self.model.objects.filter(session_key=key, expire_date__gt=timezone.now())

    def exists(self, session_key: str) -> bool:
        return super().exists(digest(session_key))

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        row = super().create_model_instance(data)
        row.session_key = digest(row.session_key)
        return row

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        row = await super().acreate_model_instance(data)
        row.session_key = digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            super().delete(digest(key))

    async def adelete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            await super().adelete(digest(key))
