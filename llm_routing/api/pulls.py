"""Pulling a model, followed as it comes."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.errors import EvalsuiteError
from evalsuite.openapi import errors, event_stream
from evalsuite.streams import StreamNegotiation, in_thread, sse
from llm_routing import pulling
from llm_routing.api.providers import ProvidersView, SyncSerializer
from llm_routing.providers.calls import CallHandle

log = logging.getLogger(__name__)


@extend_schema_field(
    {"type": "string", "maxLength": pulling.LONGEST_NAME, "pattern": f"^{pulling.NAME.pattern}$"}
)
class ModelNameField(StrictCharField):
    """Checked where the model is pulled."""


class PullBody(StrictSerializer):
    modelName = ModelNameField(
        max_length=pulling.LONGEST_NAME, help_text="As in Ollama's library: `name`, `name:tag`."
    )


class ProgressSerializer(serializers.Serializer[pulling.Progress]):
    endpoint = serializers.IntegerField()
    endpoints = serializers.IntegerField()
    status = serializers.CharField()
    completedBytes = serializers.IntegerField(source="completed_bytes", allow_null=True)
    totalBytes = serializers.IntegerField(source="total_bytes", allow_null=True)


class ProviderPull(ProvidersView):
    """Has an Ollama download a model, onto each of its endpoints.

    A client that goes away stops the download; the same request again goes on from what has come.
    """

    content_negotiation_class = StreamNegotiation

    @extend_schema(
        operation_id="provider_pull",
        request=PullBody,
        responses={
            **event_stream(
                "Events: `progress` (endpoint, endpoints, status, completedBytes, totalBytes; "
                "the total grows as parts become known) ..., then `done` (modelName, added, updated, "
                "gone) or `error`. Only `done` means that the model is there.",
                "progress",
                "done",
                "error",
            ),
            **errors(400, 401, 403, 404, 409, 413, 415, 503),
        },
    )
    def post(self, request: Request, **ids: str) -> HttpResponseBase:
        name = self.checked(PullBody)["modelName"]
        pull = pulling.prepare(self.provider(), org=self.org, actor=self.user, model=name)
        return self.stream(_events(pull))


async def _events(pull: pulling.Pull) -> AsyncGenerator[bytes, None]:
    handle = CallHandle()
    try:
        async with aclosing(in_thread(pulling.run(pull, handle=handle), cancel=handle.cancel)) as steps:
            async for step in steps:
                yield sse(*_told(pull, step))
    except EvalsuiteError as error:
        yield sse("error", {"error": error.code, "details": error.details})
    except Exception:
        # The status is sent already: the client is told here, the log has the reason.
        log.exception("a pull broke")
        yield sse(
            "error", {"error": "INTERNAL_ERROR", "details": {"message": "Something broke on our side."}}
        )


def _told(pull: pulling.Pull, step: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(step, pulling.Progress):
        return "progress", dict(ProgressSerializer(step).data)
    return "done", {"modelName": pull.model, **SyncSerializer(step).data}
