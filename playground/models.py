"""What was tried in the playground: short-lived, but logged."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from evalsuite.models import Row
from evalsuite.orgs.models import Org
from evalsuite.orgs.querysets import OrgScopedQuerySet
from llm_routing.models import ChatProfile


class Comparison(Row):
    """One press of Run on the bench: a prompt, put to several columns, each as often as was asked for.

    `prompt` is as it was written, with its `{{ name }}`; what was sent is in the sessions' messages.
    """

    wire_name = "comparison"

    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="playground_comparisons")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    prompt = models.TextField()
    variables = models.JSONField(default=dict)
    repeats = models.PositiveSmallIntegerField(default=1)
    stopped = models.PositiveIntegerField(
        default=0, help_text="A bit for each column that was told to stop: 1, 2, 4 ..."
    )

    objects = OrgScopedQuerySet["Comparison"].as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.prompt[:40]


class PlaygroundSession(Row):
    """One trial with the settings that were really used. `parameters` holds all that was sent.

    `column` and `repeat`, from 0, are its place in a comparison.
    """

    wire_name = "session"

    comparison = models.ForeignKey(
        Comparison, null=True, blank=True, on_delete=models.CASCADE, related_name="sessions"
    )
    column = models.PositiveSmallIntegerField(default=0)
    repeat = models.PositiveSmallIntegerField(default=0)
    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="playground_sessions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    chat_profile = models.ForeignKey(
        ChatProfile, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    chat_profile_version = models.PositiveIntegerField(
        null=True, help_text="The profile as it was then: it may have changed, or be gone."
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
        indexes = [
            models.Index(fields=["org", "-id"]),
            models.Index(fields=["created_at"], name="sessions_by_age"),
        ]

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
    thinking = models.TextField(blank=True, default="", help_text="Kept apart, and never sent again.")
    latency_ms = models.PositiveIntegerField(null=True)
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    stop_reason = models.CharField(max_length=64, blank=True)
    error_code = models.CharField(
        max_length=64, blank=True, help_text="Why the answer is missing, cut off, or not as asked for."
    )
    error_message = models.TextField(blank=True, default="")
    cold_start = models.BooleanField(default=False)
    may_be_cut = models.BooleanField(default=False, help_text="The prompt, by a server that cannot be told.")
    timings = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["session", "created_at"])]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:40]}"
