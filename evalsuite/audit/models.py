"""Who did what, when: rows that are written once and never changed."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet

# By far the most events are of this kind: the index that finds the others leaves it out.
OF_CELLS = "experiment.run.completed"


class AuditEvent(Row):
    """One change. `before` and `after` never hold secrets; long texts are told by length and hash.

    The database refuses UPDATE and DELETE. The ids of an org and a person outlive their rows: read them
    as `org_id` and `actor_id`, or join.
    """

    wire_name = "event"

    org = models.ForeignKey(
        Org,
        null=True,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_constraint=False,
        db_index=False,
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
            models.Index(fields=["actor", "-id"], name="audit_by_actor"),
            models.Index(  # PostgreSQL looks for the beginning of a text only in an index that is made for it
                fields=["org", "event", "-id"],
                name="audit_by_name",
                opclasses=["uuid_ops", "varchar_pattern_ops", "uuid_ops"],
                condition=~Q(event=OF_CELLS),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.object_id}"


class PendingEvent(models.Model):
    """An event that no seal holds yet. Written by a trigger, with the event; removed with the seal."""

    event_id = models.UUIDField(primary_key=True)

    def __str__(self) -> str:
        return str(self.event_id)


class AuditSeal(models.Model):
    """A link of the chain: the hashes of some events, hashed together with the link before.

    The database refuses UPDATE and DELETE.
    """

    number = models.PositiveBigIntegerField(primary_key=True)  # 1, 2, 3 ... without a gap
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    previous = models.CharField(max_length=64, blank=True)  # the digest of the link before
    digest = models.CharField(max_length=64)
    first_event = models.UUIDField()  # the least and the greatest id
    last_event = models.UUIDField()
    count = models.PositiveIntegerField()
    entries = models.BinaryField()  # for each event 16 bytes of id and 32 of SHA-256; last: it is long

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"
