"""The page of an org's keys for programs."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.forms import checked
from evalsuite.orgs import api_keys
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.models import ApiKey
from evalsuite.orgs.permissions import FOR_KEYS, Permission
from evalsuite.orgs.querysets import find

LISTED = 200
LIFETIMES = {7: "7 days", 30: "30 days", 90: "90 days", 365: "A year"}
WORDS: dict[Permission, str] = {
    "org:experiments:read": "Read experiments and results",
    "org:experiments:rate": "Give thumbs and scores",
    "org:experiments:write": "Change and run experiments",
    "org:playground:use": "Use the playground",
    "org:profiles:write": "Change chat profiles",
    "org:models:write": "Change providers and models",
    "org:usage:read": "Read usage and limits",
    "org:audit:read": "Read the audit log",
}


class KeyForm(forms.Form):
    name = forms.CharField(max_length=128)
    permissions = forms.MultipleChoiceField(
        choices=[(permission, permission) for permission in sorted(FOR_KEYS)],
        error_messages={"required": "Choose at least one."},
    )
    days = forms.TypedChoiceField(choices=list(LIFETIMES.items()), coerce=int)


class KeysView(OrgPage):
    required_permission = "org:keys:manage"

    def show(self, template: str, **context: Any) -> HttpResponse:
        rows = ApiKey.objects.for_org(self.org).select_related("creator")[:LISTED]
        return render(self.request, f"orgs/{template}.html", {"keys": rows, **context})


class KeysPage(KeysView):
    """The list; and a new key, which is shown in the answer and never again."""

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        offered = [(name, words) for name, words in WORDS.items() if name in self.permissions & FOR_KEYS]
        return self.show("keys", offered=offered, lifetimes=LIFETIMES.items(), usual_days=api_keys.USUAL_DAYS)

    def post(self, request: HttpRequest, org_id: str) -> HttpResponse:
        wanted = checked(KeyForm(request.POST))
        permissions = cast("list[Permission]", wanted.pop("permissions"))
        key, token = api_keys.create_key(org=self.org, actor=self.user, permissions=permissions, **wanted)
        response = self.show("partials/keys_update", made=key, token=token)
        response["Cache-Control"] = "no-store"
        return response


class RevokeKey(KeysView):
    def post(self, request: HttpRequest, org_id: str, key_id: str) -> HttpResponse:
        key = find(ApiKey.objects.for_org(self.org).select_related("org"), key_id)
        api_keys.revoke(key, actor=self.user)
        return self.show("partials/keys_update", message=f"{key.name} is revoked.")
