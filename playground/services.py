"""Trying a prompt: open a session, let the model answer, keep what came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from evalsuite import bulk
from evalsuite.audit.services import record
from evalsuite.errors import EvalsuiteError
from evalsuite.ids import new_id
from evalsuite.metrics import families
from evalsuite.metrics.changes import Changes
from evalsuite.orgs.models import Org, User
from evalsuite.quotas import services as quotas
from evalsuite.quotas.models import UsageRecord
from llm_routing import resolution, routing
from llm_routing.counting import count_call, outcome_of
from llm_routing.errors import Cancelled, InvalidAnswer
from llm_routing.models import ChatProfile
from llm_routing.providers.calls import CallHandle
from llm_routing.types import Completion, CompletionRequest, Delta, Message
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession

INVALID_ANSWER = "INVALID_ANSWER"  # of a message: it is whole, and not in the format that was asked for


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a comparison a session stands; both numbers from 0."""

    comparison: Comparison
    column: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A session that waits for its answer. `call` is what the org's limits granted to `user`."""

    session: PlaygroundSession
    user: User
    target: routing.Target
    request: CompletionRequest
    call: quotas.Call
    failed: list[EvalsuiteError] = field(default_factory=list)  # of endpoints tried before the last one


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
    place: Place | None = None,
) -> Trial:
    """Write down what is about to be tried, within the limits of the user and the org.

    Raises ModelNotFound, ProviderUnavailable, RateLimited or QuotaExceeded; nothing is kept then.
    """
    chosen = resolution.resolve(org, profile=chat_profile, explicit=explicit, system_prompt=system_prompt)
    target = routing.target_for(chosen.model)
    request = CompletionRequest(chosen.model.name, chosen.messages(prompt), chosen.parameters)
    parameters = chosen.parameters
    session = PlaygroundSession(
        org=org,
        user=user,
        comparison=place.comparison if place else None,
        column=place.column if place else 0,
        repeat=place.repeat if place else 0,
        chat_profile=chat_profile,
        chat_profile_version=chat_profile.version if chat_profile else None,
        model_provider=chosen.model.provider.slug,
        model_name=chosen.model.name,
        model_digest=chosen.model.digest,
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        max_tokens=parameters.max_tokens,
        parameters=resolution.parameters_to_json(parameters),
    )
    with quotas.granting(org):
        return begin(session, user=user, target=target, request=request, new=request.messages)


def begin(
    session: PlaygroundSession,
    *,
    user: User,
    target: routing.Target,
    request: CompletionRequest,
    new: Sequence[Message],
) -> Trial:
    """Keep the session and the `new` ones of the request's messages; hold what the call needs of the limits.

    Call inside `quotas.granting`, the transaction that opens the session or finds it free.
    Raises RateLimited or QuotaExceeded.
    """
    opened = [session] if session._state.adding else []
    messages = [
        PlaygroundMessage(session=session, role=message.role, content=message.content) for message in new
    ]
    bulk.insert_few(*opened, *messages)
    call = quotas.Call(
        attempt=new_id(),
        kind=UsageRecord.Kind.PLAYGROUND,
        provider=session.model_provider,
        model=session.model_name,
        tokens=quotas.estimated_tokens(
            sum(len(message.content) for message in request.messages), request.parameters.max_tokens
        ),
        user_id=user.pk,
    )
    _require_room(session.org, call)
    changes = Changes()
    changes.count(families.PLAYGROUND_REQUESTS, session.org_id, session.model_provider, session.model_name)
    changes.save()
    return Trial(session, user, target, request, call)


def _require_room(org: Org, call: quotas.Call) -> None:
    limits = quotas.limits_of(org)
    refusal = quotas.take_playground(org, call.user_id, limits=limits) if call.user_id else None
    refusal = refusal or quotas.reserve(org, [call], limits=limits).refusal
    if refusal:
        raise refusal.error()


def complete(trial: Trial) -> Answer:
    """The whole answer, recorded. Raises the provider's error, recorded as well."""
    for event in stream(trial, handle=CallHandle()):
        if isinstance(event, Answer):
            return event
    raise AssertionError("a trial ended without an answer")


def stream(trial: Trial, *, handle: CallHandle, wait_s: float | None = None) -> Iterator[Delta | Answer]:
    """Yield deltas as the model writes and, last, the recorded answer.

    After `handle.cancel()` what has come so far is kept, marked as cancelled, and the stream ends. What came
    before an error is kept, with its reason. `wait_s`: for a free slot, where it is not the usual time.
    """
    wait_s = settings.SLOT_WAIT if wait_s is None else wait_s
    written: list[Delta] = []
    try:
        for event in routing.stream(
            trial.target, trial.request, wait_s=wait_s, handle=handle, gone_elsewhere=trial.failed.append
        ):
            if isinstance(event, Completion):
                yield _record_answer(trial, event)
                return
            written.append(event)
            yield event
    except Cancelled as stopped:
        _record_partial(trial, written, "CANCELLED", "Stopped.", stopped)
    except InvalidAnswer as error:
        if error.completion:
            _record_answer(trial, error.completion, problem=error)
        else:
            _record_partial(trial, written, error.code, error.message, error)
        raise
    except EvalsuiteError as error:
        _record_partial(trial, written, error.code, error.message, error)
        raise
    except Exception:
        broken = EvalsuiteError("Something broke on our side.")
        _record_partial(trial, written, broken.code, broken.message, broken)
        raise


def _record_answer(trial: Trial, completion: Completion, *, problem: InvalidAnswer | None = None) -> Answer:
    """`problem`: the answer came whole, and is not what was asked for; its tokens were used all the same."""
    session = trial.session
    latency_ms = round(completion.timings.total_ms)
    with transaction.atomic():
        PlaygroundMessage.objects.create(
            id=trial.call.attempt,
            session=session,
            role=PlaygroundMessage.Role.ASSISTANT,
            content=completion.content,
            thinking=completion.thinking,
            latency_ms=latency_ms,
            input_tokens=completion.input_tokens,
            output_tokens=completion.output_tokens,
            stop_reason=completion.stop_reason or "",
            error_code=INVALID_ANSWER if problem else "",
            error_message=problem.message if problem else "",
            cold_start=completion.cold_start,
            may_be_cut=completion.may_be_cut,
            timings=asdict(completion.timings),
        )
        facts = {
            "modelProvider": session.model_provider,
            "modelName": session.model_name,
            "latencyMs": latency_ms,
            "inputTokens": completion.input_tokens,
            "outputTokens": completion.output_tokens,
        }
        if problem:
            facts["error"] = INVALID_ANSWER
        _tell(trial, facts)
        _count(trial, problem, completion)
        used = quotas.Used(trial.call, completion.input_tokens, completion.output_tokens)
        quotas.settle(session.org, [used])
    return Answer(
        session_id=session.pk,
        output=completion.content,
        latency_ms=latency_ms,
        input_tokens=completion.input_tokens,
        output_tokens=completion.output_tokens,
        completion=completion,
    )


def _record_partial(
    trial: Trial, written: Sequence[Delta], code: str, reason: str, error: EvalsuiteError
) -> None:
    """What had come when the call ended without an answer."""
    with transaction.atomic():
        PlaygroundMessage.objects.create(
            id=trial.call.attempt,
            session=trial.session,
            role=PlaygroundMessage.Role.ASSISTANT,
            content="".join(delta.content for delta in written),
            thinking="".join(delta.thinking for delta in written),
            error_code=code,
            error_message=reason,
        )
        _tell(trial, {"modelName": trial.session.model_name, "error": code})
        _count(trial, error)
        quotas.release([trial.call.attempt])


def _count(trial: Trial, error: EvalsuiteError | None, completion: Completion | None = None) -> None:
    session, changes = trial.session, Changes()
    facts = (session.org_id, session.model_provider, session.model_name, trial.call.kind)
    for earlier in trial.failed:
        count_call(changes, *facts, outcome=outcome_of(earlier))
    count_call(changes, *facts, outcome=outcome_of(error), completion=completion)
    if completion is not None:
        changes.observe(families.PLAYGROUND_LATENCY, completion.timings.total_ms)
    changes.save()


def _tell(trial: Trial, facts: dict[str, Any]) -> None:
    session = trial.session
    record("playground.completion", org=session.org, actor=trial.user, subject=session, after=facts)
