"""Going on with a session: further messages of its user, with the conversation so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.utils import timezone

from evalsuite.errors import Conflict
from evalsuite.orgs.models import User
from evalsuite.quotas import services as quotas
from llm_routing import registry, resolution, routing
from llm_routing.types import CompletionRequest, Message
from playground import services
from playground.models import PlaygroundMessage, PlaygroundSession

Role = PlaygroundMessage.Role
# No call takes so long. What has no answer by then has lost the process that waited for it.
LONGEST_CALL = timedelta(minutes=15)


def open_turn(session: PlaygroundSession, *, user: User, prompt: str) -> services.Trial:
    """Ask again in the same session, with its own settings and all that was said in it.

    Raises Conflict while an answer is still being written, else as `services.open_session`.
    """
    model = registry.resolve(session.org, session.model_provider, session.model_name)
    target = routing.target_for(model)
    with quotas.granting(session.org):
        PlaygroundSession.objects.select_for_update().get(pk=session.pk)
        messages = list(session.messages.order_by("id"))
        _require_answered(messages)
        asked = Message("user", prompt)
        request = CompletionRequest(
            session.model_name,
            (*said(messages), asked),
            resolution.parameters_from_json(session.parameters),
        )
        return services.begin(session, user=user, target=target, request=request, new=[asked])


def _require_answered(messages: list[PlaygroundMessage]) -> None:
    last = messages[-1] if messages else None
    if last and last.role == Role.USER and last.created_at > timezone.now() - LONGEST_CALL:
        raise Conflict("The last message of this session is still being answered.")


def said(messages: Iterable[PlaygroundMessage]) -> Iterator[Message]:
    """What is sent again. A partial answer counts as it is; a question that got nothing is left out.

    Thinking is never sent back.
    """
    asked: Message | None = None
    for message in messages:
        if message.role == Role.SYSTEM:
            yield Message("system", message.content)
        elif message.role == Role.USER:
            asked = Message("user", message.content)
        elif asked and message.content:
            yield asked
            yield Message("assistant", message.content)
            asked = None
