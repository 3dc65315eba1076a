"""The Audit page: who did what, when."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from evalsuite.audit.export import export
from evalsuite.audit.filters import NAMES, Wish, found, wish_of
from evalsuite.audit.models import AuditEvent
from evalsuite.errors import InvalidBody
from evalsuite.ids import parse_id
from evalsuite.orgs.console import OrgPage
from evalsuite.web import wants_partial

SHOWN = 50  # events of a page


class AuditPage(OrgPage):
    """Newest first. For htmx: the list alone."""

    required_permission = "org:audit:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        query = {name: text for name in NAMES if (text := request.GET.get(name, "").strip())}
        problems: dict[str, str] = {}
        events: list[AuditEvent] = []
        try:
            events = self._events(wish_of(query))
        except InvalidBody as error:
            problems = {name: why[0] for name, why in error.fields.items()}
        older = {**query, "before": str(events[SHOWN - 1].pk)} if len(events) > SHOWN else None
        context = {
            "events": [_shown(event) for event in events[:SHOWN]],
            "next": f"?{urlencode(older)}" if older else None,
            "newest": f"?{urlencode(query)}" if "before" in request.GET else None,
            "query": {name: query.get(name, "") for name in NAMES},
            "query_string": urlencode(query),
            "problems": [f"{name.capitalize()}: {why}" for name, why in problems.items()],
        }
        partial = wants_partial(request)  # type: ignore[arg-type]
        return render(request, "audit/partials/events.html" if partial else "audit/page.html", context)

    def _events(self, wish: Wish) -> list[AuditEvent]:
        events = found(self.org, wish)
        if before := parse_id(self.request.GET.get("before", "")):
            events = events.filter(pk__lt=before)
        return list(events.order_by("-pk")[: SHOWN + 1])


class AuditFile(OrgPage):
    """What the page's filters leave, as a file."""

    required_permission = "org:audit:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponseBase:
        return export(self.org, wish_of(request.GET))


def _shown(event: AuditEvent) -> dict[str, Any]:
    """With before and after side by side, by name."""
    before, after = event.before or {}, event.after or {}
    names = [*before, *(name for name in after if name not in before)]
    facts = [(name, _in_words(before, name), _in_words(after, name)) for name in names]
    return {"row": event, "facts": facts, "kind": _kind(event.object_type)}


def _kind(label: str) -> str:
    """What the console calls such an object; the log outlives what it tells of."""
    try:
        return str(apps.get_model(label)._meta.verbose_name) if label else ""
    except LookupError:
        return label.rpartition(".")[2]


def _in_words(values: dict[str, Any], name: str) -> str:
    if name not in values:
        return ""
    value = values[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
