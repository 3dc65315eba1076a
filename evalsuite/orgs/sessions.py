"""Sessions in the database, under digests of their keys: whoever reads the table can open none."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as PlainStore
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.utils import timezone

from evalsuite.prepared import Prepared

ROW = Prepared(lambda key: Session.objects.filter(session_key=key), str)


def digest(session_key: str) -> str:
    """As long as the column: 160 bits."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]


class SessionStore(PlainStore):
    """Django's, which would keep what the cookie says as it is."""

    def _get_session_from_db(self) -> Any:
        row = ROW.first(digest(self.session_key)) if self.session_key else None
        return self._live(row)

    async def _aget_session_from_db(self) -> Any:
        rows = self.model.objects.filter(session_key=digest(self.session_key or ""))
        return self._live(await rows.afirst() if self.session_key else None)

    def _live(self, row: AbstractBaseSession | None) -> AbstractBaseSession | None:
        if row is None or row.expire_date <= timezone.now():
            self._session_key = None
            return None
        return row

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
