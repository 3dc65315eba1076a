"""The history of a row in the admin: what happened to it, by whichever door, for readers of the audit log."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.http import HttpRequest, HttpResponse

from evalsuite.audit.models import AuditEvent
from evalsuite.orgs.models import Membership, User
from evalsuite.orgs.permissions import ROLE_PERMISSIONS

SHOWN = 100  # events, the newest


class AuditedHistory:
    """For a ModelAdmin. Rows without an org have a history for superusers alone."""

    model: type[models.Model]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        events = _events(request, self.model, object_id)
        more = {**(extra_context or {}), "events": events}
        answer: HttpResponse = super().history_view(request, object_id, more)  # type: ignore[misc]
        return answer


def _events(request: HttpRequest, model: type[models.Model], object_id: str) -> list[AuditEvent]:
    """Those that this person may read."""
    user = request.user
    if not isinstance(user, User) or not user.is_active:
        return []
    events = AuditEvent.objects.filter(object_type=model._meta.label_lower, object_id=object_id)
    if not user.is_superuser:
        readers = [role for role, granted in ROLE_PERMISSIONS.items() if "org:audit:read" in granted]
        orgs = Membership.objects.filter(user=user, role__in=readers).values_list("org", flat=True)
        events = events.filter(org__in=list(orgs))
    return list(events.order_by("-pk")[:SHOWN])
