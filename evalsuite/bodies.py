"""How large a request may be, by what it says of itself and by what really comes.

Django's handler keeps a whole body, in a file where it is large, before any code of a view runs: a body
without an end would fill the disk. Here it ends with its limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from evalsuite.uploads import FORM_MAX

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
REFUSED = "evalsuite.too_large"  # in the scope of a request whose body was cut off
# Fields in one line are in memory several times over while they are taken apart.
MOST = {b"multipart/form-data": FORM_MAX, b"application/x-www-form-urlencoded": 10 * 1024 * 1024}
END: Message = {"type": "http.request", "body": b"", "more_body": False}


class BoundedBody:
    """In the place of an ASGI `receive`: what is too large ends there, and `scope` says so."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        self._left = MOST.get(kind, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        self._is_over = False
        told = headers.get(b"content-length", b"")
        if told.isdigit() and (len(told) > 18 or int(told) > self._left):
            self._refuse()

    def _refuse(self) -> None:
        self._scope[REFUSED] = self._is_over = True

    async def __call__(self) -> Message:
        if self._scope.get(REFUSED) and self._is_over:
            self._is_over = False  # from now on only a client that leaves is of interest
            return END
        message = await self._receive()
        while self._scope.get(REFUSED) and message["type"] == "http.request":
            message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self._refuse()
            self._is_over = False
            return END
        return message
