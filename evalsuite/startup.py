"""What must hold before a process serves anybody: asked by every door of a deployment as it opens.

That the secrets are good is asked by settings.py already, in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

BLACKLIST = "rest_framework_simplejwt.token_blacklist"
# "serve" is `manage.py serve`: web server and worker in one process.
Role = Literal["web", "worker", "serve"]

_serves = False


def require_safe(role: Role) -> None:
    """Raises ImproperlyConfigured with all that forbids this process to serve."""
    global _serves  # noqa: PLW0603 - what this process is, said once
    _serves = _serves or role == "serve"
    if problems := [error.msg for error in tokens_can_end()] + list(_problems_of(role)):
        raise ImproperlyConfigured(" ".join(problems))


def _problems_of(role: Role) -> Iterator[str]:
    if settings.DEBUG:
        yield "DEBUG is on: it is for developers (`manage.py runserver`) and tests. Take it out."
    if settings.EMBEDDED_BROKER and not _serves:
        yield (
            f"BROKER_URL is memory://, which works inside one process only, so no {role} can be started by "
            "itself: use `manage.py serve`, or set BROKER_URL to a Redis server for several processes."
        )


@register(Tags.security)
def tokens_can_end(**_: Any) -> list[CheckMessage]:
    """A refresh token that was used, or logged out, is refused only where used ones are kept."""
    jwt = settings.SIMPLE_JWT
    on = apps.is_installed(BLACKLIST) and jwt["ROTATE_REFRESH_TOKENS"] and jwt["BLACKLIST_AFTER_ROTATION"]
    if on and jwt["CHECK_REVOKE_TOKEN"]:
        return []
    hint = f"{BLACKLIST} belongs into INSTALLED_APPS, and SIMPLE_JWT rotates and revokes."
    outlive = "Refresh tokens would outlive their use, the log-out and the password."
    return [Error(outlive, hint=hint, id="evalsuite.E001")]
