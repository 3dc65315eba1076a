"""Who did what, when: rows that are written once and never changed."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet


class AuditEvent(Row):
    """One change. `before` and `after` never hold secrets; long texts are left out."""

    org = models.ForeignKey(Org, null=True, on_delete=models.SET_NULL, related_name="+", db_constraint=False)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_constraint=False
    )
    actor_name = models.CharField(max_length=150, blank=True)
    event = models.CharField(max_length=64)
    object_type = models.CharField(max_length=64, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True)

    objects = OrgScopedQuerySet["AuditEvent"].as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["org", "-id"]),
            models.Index(fields=["object_id"]),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.object_id}"
