"""Trying a prompt: open a session, let the model answer, keep what came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from evalsuite import metrics
from evalsuite.audit.services import record
from evalsuite.errors import EvalsuiteError
from evalsuite.ids import new_id
from evalsuite.orgs.models import Org, User
from evalsuite.quotas.models import UsageRecord
from llm_routing import resolution, routing
from llm_routing.errors import Cancelled
from llm_routing.models import ChatProfile
from llm_routing.providers.transport import CallHandle
from llm_routing.types import Completion, CompletionRequest, Delta
from playground.models import PlaygroundMessage, PlaygroundSession


@dataclass(frozen=True, slots=True)
class Trial:
    """A session that waits for its answer."""

    session: PlaygroundSession
    target: routing.Target
    request: CompletionRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What the contract's 200 says. Latency in milliseconds; token counts None where not told."""

    session_id: UUID
    output: str
    latency_ms: int
    input_tokens: int | None
    output_tokens: int | None
    completion: Completion


def open_session(
    *,
    org: Org,
    user: User,
    prompt: str,
    system_prompt: str | None = None,
    chat_profile: ChatProfile | None = None,
    explicit: dict[str, Any],
) -> Trial:
    """Write down what is about to be tried.

    Raises ModelNotFound or ProviderUnavailable; nothing is kept then.
    """
    chosen = resolution.resolve(org, profile=chat_profile, explicit=explicit, system_prompt=system_prompt)
    target = routing.target_for(chosen.model)
    request = CompletionRequest(chosen.model.name, chosen.messages(prompt), chosen.parameters)
    parameters = chosen.parameters
    with transaction.atomic():
        session = PlaygroundSession.objects.create(
            org=org,
            user=user,
            chat_profile=chat_profile,
            model_provider=chosen.model.provider.slug,
            model_name=chosen.model.name,
            model_digest=chosen.model.digest,
            temperature=parameters.temperature,
            top_p=parameters.top_p,
            max_tokens=parameters.max_tokens,
            parameters=resolution.parameters_to_json(parameters),
        )
        PlaygroundMessage.objects.bulk_create(
            PlaygroundMessage(session=session, role=message.role, content=message.content)
            for message in request.messages
        )
    metrics.PLAYGROUND_REQUESTS.labels(str(org.pk), session.model_provider, session.model_name).inc()
    return Trial(session, target, request)


def complete(trial: Trial) -> Answer:
    """The whole answer, recorded. Raises the provider's error, recorded as well."""
    for event in stream(trial, handle=CallHandle()):
        if isinstance(event, Answer):
            return event
    raise AssertionError("a trial ended without an answer")


def stream(trial: Trial, *, handle: CallHandle) -> Iterator[Delta | Answer]:
    """Yield deltas as the model writes and, last, the recorded answer.

    After `handle.cancel()` what has come so far is kept, marked as cancelled, and the stream ends.
    """
    written: list[str] = []
    try:
        for event in routing.stream(trial.target, trial.request, wait_s=settings.SLOT_WAIT, handle=handle):
            if isinstance(event, Completion):
                yield _record_answer(trial, event)
                return
            written.append(event.content)
            yield event
    except Cancelled:
        _record_failure(trial, "".join(written), "CANCELLED")
    except EvalsuiteError as error:
        _record_failure(trial, "".join(written), error.code)
        raise


def _record_answer(trial: Trial, completion: Completion) -> Answer:
    session = trial.session
    latency_ms = round(completion.timings.total_ms)
    with transaction.atomic():
        message = PlaygroundMessage.objects.create(
            id=new_id(),
            session=session,
            role=PlaygroundMessage.Role.ASSISTANT,
            content=completion.content,
            latency_ms=latency_ms,
            input_tokens=completion.input_tokens,
            output_tokens=completion.output_tokens,
            stop_reason=completion.stop_reason or "",
            timings=asdict(completion.timings),
        )
        usage = routing.Usage(
            attempt=message.pk,
            kind=UsageRecord.Kind.PLAYGROUND,
            provider=session.model_provider,
            model=session.model_name,
            input_tokens=completion.input_tokens,
            output_tokens=completion.output_tokens,
        )
        routing.account(session.org, [usage])
        record(
            "playground.completion",
            org=session.org,
            actor=session.user,
            subject=session,
            after={
                "modelProvider": session.model_provider,
                "modelName": session.model_name,
                "latencyMs": latency_ms,
                "inputTokens": completion.input_tokens,
                "outputTokens": completion.output_tokens,
            },
        )
    metrics.PLAYGROUND_LATENCY.observe(latency_ms)
    return Answer(
        session_id=session.pk,
        output=completion.content,
        latency_ms=latency_ms,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        completion=completion,
    )


def _record_failure(trial: Trial, written: str, code: str) -> None:
    with transaction.atomic():
        PlaygroundMessage.objects.create(
            session=trial.session,
            role=PlaygroundMessage.Role.ASSISTANT,
            content=written,
            error_code=code,
        )
        record(
            "playground.completion",
            org=trial.session.org,
            actor=trial.session.user,
            subject=trial.session,
            after={"modelName": trial.session.model_name, "error": code},
        )
