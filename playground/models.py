"""What was tried in the playground: short-lived, but logged."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet
from llm_routing.models import ChatProfile


class PlaygroundSession(Row):
    """One trial with the settings that were really used. `parameters` holds all that was sent."""

    wire_name = "session"

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="playground_sessions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    chat_profile = models.ForeignKey(
        ChatProfile, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    model_provider = models.CharField(max_length=64)
    model_name = models.CharField(max_length=256)
    model_digest = models.CharField(max_length=128, blank=True)
    temperature = models.FloatField()
    top_p = models.FloatField()
    max_tokens = models.PositiveIntegerField(null=True)
    parameters = models.JSONField(default=dict)

    objects = OrgScopedQuerySet["PlaygroundSession"].as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["org", "-id"])]

    def __str__(self) -> str:
        return f"{self.model_name} {self.created_at:%Y-%m-%d %H:%M}"


class PlaygroundMessage(Row):
    """One message. The measurements belong to an assistant's message; None: not told."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"
        SYSTEM = "system"

    session = models.ForeignKey(PlaygroundSession, on_delete=models.CASCADE, related_name="messages")
    role = models.CharField(max_length=16, choices=Role.choices)
    content = models.TextField(blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    stop_reason = models.CharField(max_length=64, blank=True)
    error_code = models.CharField(
        max_length=64, blank=True, help_text="Why the answer is missing or cut off."
    )
    timings = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["session", "created_at"])]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:40]}"
