"""The ASGI application."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from evalsuite.bodies import BoundedBody

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "evalsuite.settings")

# Static files are short and come from memory or disk: reading them at once blocks nobody.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")


class OneThreadHandler(ASGIHandler):
    """Middleware and view of a request run in one thread, with one way there and back.

    Our views are plain functions of requests. Django's own handler changes between the event loop and that
    thread for the middlewares as well, a dozen times, and waits for both each time. Only what an answer
    streams is made in the loop.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await super().handle(scope, BoundedBody(scope, receive), send)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)


django.setup(set_prefix=False)
application = OneThreadHandler()

from evalsuite import memory, startup  # noqa: E402 - apps come first

startup.require_safe("web")

_ = get_resolver().url_patterns  # all routes' code, before the first request asks for it
import_module("scipy.special")  # and what the first page of results would wait for
memory.settle()
