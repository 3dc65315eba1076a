"""What the models of all apps share. Declares no table of its own."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from evalsuite.ids import new_id


class Row(models.Model):
    """A table with a time-ordered id and the time it was written."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True
