"""The playground's pages: the bench, and what one tried before. The bench speaks to the API."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.querysets import find
from evalsuite.web import wants_partial
from llm_routing.models import ChatProfile, ModelDefault, RegisteredModel
from llm_routing.types import DEFAULT_TEMPERATURE, DEFAULT_TOP_P
from playground import sessions
from playground.models import PlaygroundSession

SHOWN = 30  # entries of a page of the history


class BenchPage(OrgPage):
    """The bench. It may be told by the address, after `#`, what to begin with: no server is told of that."""

    required_permission = "org:playground:use"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        return self.bench(request)

    def bench(self, request: HttpRequest, opened: str | None = None) -> HttpResponse:
        """`opened`: where the API tells what is to be shown again."""
        default = ModelDefault.objects.filter(org=self.org).values_list("model", flat=True).first()
        models = list(RegisteredModel.objects.usable_by(self.org).select_related("provider"))
        context = {
            "profiles": ChatProfile.objects.for_org(self.org),
            "models": models,
            "has_toy": any(model.provider.is_toy for model in models),
            "default_model": default,
            "temperature": DEFAULT_TEMPERATURE,
            "top_p": DEFAULT_TOP_P,
            "opened": opened,
            "may_write_experiments": "org:experiments:write" in self.permissions,
            "may_write_profiles": "org:profiles:write" in self.permissions,
        }
        return render(request, "playground/page.html", context)


class SessionPage(BenchPage):
    """The bench as it was: one of one's own sessions, with all of the same press of Run."""

    def get(self, request: HttpRequest, org_id: str, session_id: str = "") -> HttpResponse:
        session = find(sessions.own(self.org, self.user), session_id)
        if session.comparison_id:
            name, pk = "api:comparison-detail", session.comparison_id
        else:
            name, pk = "api:session-detail", session.pk
        return self.bench(request, reverse(name, args=[self.org.pk, pk]))


class HistoryPage(OrgPage):
    """One's own presses of Run, newest first. For htmx: the list alone."""

    required_permission = "org:playground:use"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        return render(request, self.template(request), self.listed(request))

    def template(self, request: HttpRequest) -> str:
        partial = wants_partial(request)  # type: ignore[arg-type]
        return "playground/partials/history.html" if partial else "playground/history.html"

    def listed(self, request: HttpRequest) -> dict[str, Any]:
        words = request.GET.get("search", "").replace("\0", "")[: sessions.LONGEST_SEARCH].strip()
        found = sessions.first_of_each(sessions.search(sessions.own(self.org, self.user), words))
        if before := parse_id(request.GET.get("before", "")):
            found = found.filter(pk__lt=before)
        rows: list[PlaygroundSession] = list(sessions.with_preview(found).order_by("-id")[: SHOWN + 1])
        older = {"search": words, "before": str(rows[SHOWN - 1].pk)} if len(rows) > SHOWN else None
        return {
            "entries": sessions.entries(rows[:SHOWN]),
            "next": f"?{urlencode(older)}" if older else None,
            "words": words,
            "days": settings.PLAYGROUND_RETENTION_DAYS,
        }


class DeleteSession(HistoryPage):
    """Remove a press of Run with all its sessions, and show the list again."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, org_id: str, session_id: str) -> HttpResponse:
        own = sessions.own(self.org, self.user).select_related("comparison", "user")
        sessions.delete_together(find(own, session_id), org=self.org, actor=self.user)
        return render(request, "playground/partials/history.html", self.listed(request))
