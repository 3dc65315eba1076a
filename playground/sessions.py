"""Reading what was tried, and removing it."""

from __future__ import annotations

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Substr

from evalsuite.audit import changes
from evalsuite.orgs.models import Org, User
from playground.models import PlaygroundMessage, PlaygroundSession

PREVIEW = 200  # characters


def visible_to(org: Org, user: User) -> QuerySet[PlaygroundSession]:
    """The org's sessions for those who may read its audit log; one's own for all others."""
    sessions = PlaygroundSession.objects.for_org(org).select_related("user")
    return sessions if "org:audit:read" in org.permissions_of(user) else sessions.filter(user=user)


def with_preview(sessions: QuerySet[PlaygroundSession]) -> QuerySet[PlaygroundSession]:
    """Annotate `message_count` and the beginning of the prompt as `prompt`."""
    prompts = PlaygroundMessage.objects.filter(session=OuterRef("pk"), role=PlaygroundMessage.Role.USER)
    beginning = prompts.order_by("id").annotate(beginning=Substr("content", 1, PREVIEW)).values("beginning")
    return sessions.annotate(message_count=Count("messages"), prompt=Subquery(beginning[:1]))


def delete(session: PlaygroundSession, *, org: Org, actor: User) -> None:
    """With its messages. The ledger of what was used keeps its entry."""
    facts = {"modelName": session.model_name, "user": session.user.get_username()}
    changes.delete(session, "playground.session.deleted", org=org, actor=actor, facts=facts)
