"""The ASGI application."""

from __future__ import annotations

import os
import warnings
from importlib import import_module

import django
from django.urls import get_resolver

from evalsuite.handler import OneThreadHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "evalsuite.settings")

# Static files are short and come from memory or disk: reading them at once blocks nobody.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

django.setup(set_prefix=False)
application = OneThreadHandler()

from evalsuite import memory, startup  # noqa: E402 - apps come first

startup.require_safe("web")

_ = get_resolver().url_patterns  # all routes' code, before the first request asks for it
import_module("scipy.special")  # and what the first page of results would wait for
memory.settle()
