"""Reading what was tried, and removing it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Substr

from evalsuite.audit import changes
from evalsuite.orgs.models import Org, User
from llm_routing.models import ChatProfileVersion
from playground.models import Comparison, PlaygroundMessage, PlaygroundSession

PREVIEW = 200  # characters
LONGEST_SEARCH = 200


def visible_to(org: Org, user: User) -> QuerySet[PlaygroundSession]:
    """The org's sessions for those who may read its audit log; one's own for all others."""
    sessions = PlaygroundSession.objects.for_org(org).select_related("user")
    return sessions if "org:audit:read" in org.permissions_of(user) else sessions.filter(user=user)


def own(org: Org, user: User) -> QuerySet[PlaygroundSession]:
    return PlaygroundSession.objects.for_org(org).filter(user=user)


def search(sessions: QuerySet[PlaygroundSession], words: str) -> QuerySet[PlaygroundSession]:
    """Those whose model, or one of whose prompts, has these words in it. No words: all."""
    words = words.strip()[:LONGEST_SEARCH]
    if not words:
        return sessions
    prompts = PlaygroundMessage.objects.filter(
        session=OuterRef("pk"), role=PlaygroundMessage.Role.USER, content__icontains=words
    )
    return sessions.filter(Q(model_name__icontains=words) | Exists(prompts))


def first_of_each(sessions: QuerySet[PlaygroundSession]) -> QuerySet[PlaygroundSession]:
    """One for each press of Run: of a comparison's sessions the first among the given ones."""
    earlier = sessions.filter(comparison=OuterRef("comparison"), pk__lt=OuterRef("pk"))
    return sessions.filter(~Exists(earlier))


@dataclass(frozen=True, slots=True)
class Entry:
    """One press of Run, as the history lists it."""

    id: UUID  # of its first session
    created_at: datetime
    prompt: str
    models: list[str]
    columns: int
    answers: int


def entries(firsts: Sequence[PlaygroundSession]) -> list[Entry]:
    """What to tell of these, which must have `prompt` (see `with_preview`). One query for all."""
    groups = {first.comparison_id for first in firsts if first.comparison_id}
    places: dict[UUID, list[tuple[int, str]]] = defaultdict(list)
    rows = PlaygroundSession.objects.filter(comparison__in=groups).order_by("column", "repeat")
    for comparison, column, model in rows.values_list("comparison", "column", "model_name"):
        places[comparison].append((column, model))
    return [_entry(first, places.get(first.comparison_id or first.pk)) for first in firsts]


def _entry(first: PlaygroundSession, places: list[tuple[int, str]] | None) -> Entry:
    places = places or [(0, first.model_name)]
    return Entry(
        id=first.pk,
        created_at=first.created_at,
        prompt=getattr(first, "prompt", None) or "",
        models=list(dict.fromkeys(model for _, model in places)),
        columns=len({column for column, _ in places}),
        answers=len(places),
    )


def with_preview(sessions: QuerySet[PlaygroundSession]) -> QuerySet[PlaygroundSession]:
    """Annotate `message_count` and the beginning of the prompt as `prompt`."""
    prompts = PlaygroundMessage.objects.filter(session=OuterRef("pk"), role=PlaygroundMessage.Role.USER)
    beginning = prompts.order_by("id").annotate(beginning=Substr("content", 1, PREVIEW)).values("beginning")
    return sessions.annotate(message_count=Count("messages"), prompt=Subquery(beginning[:1]))


def with_profile_prompt(rows: QuerySet[PlaygroundSession]) -> QuerySet[PlaygroundSession]:
    """Annotate the system prompt of the chat profile, as it was then, as `profile_prompt`."""
    used = ChatProfileVersion.objects.filter(
        profile=OuterRef("chat_profile"), number=OuterRef("chat_profile_version")
    )
    return rows.annotate(profile_prompt=Subquery(used.values("system_prompt")[:1]))


def own_system_prompt(session: PlaygroundSession) -> str | None:
    """What was sent in place of the profile's, or without one. Needs `profile_prompt` and the messages."""
    sent = (one.content for one in session.messages.all() if one.role == PlaygroundMessage.Role.SYSTEM)
    prompt = next(sent, "")
    return prompt if prompt and prompt != getattr(session, "profile_prompt", None) else None


def delete(session: PlaygroundSession, *, org: Org, actor: User) -> None:
    """With its messages. The ledger of what was used keeps its entry."""
    facts = {"modelName": session.model_name, "user": session.user.get_username()}
    changes.delete(session, "playground.session.deleted", org=org, actor=actor, facts=facts)


def delete_comparison(comparison: Comparison, *, org: Org, actor: User) -> None:
    """With all its sessions."""
    facts = {"sessions": comparison.sessions.count(), "user": comparison.user.get_username()}
    changes.delete(comparison, "playground.comparison.deleted", org=org, actor=actor, facts=facts)


def delete_together(session: PlaygroundSession, *, org: Org, actor: User) -> None:
    """The press of Run that this session belongs to."""
    if session.comparison:
        delete_comparison(session.comparison, org=org, actor=actor)
    else:
        delete(session, org=org, actor=actor)
