"""The page of an org's members: their roles, and the links by which others become members."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from evalsuite.forms import checked
from evalsuite.orgs import invitations, services
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.models import Invitation, Membership
from evalsuite.orgs.querysets import find
from evalsuite.web import wants_partial

SHOWN = 50  # members of a page
INVITATIONS_SHOWN = 50  # the newest
LIFETIMES = {1: "A day", 7: "7 days", 14: "14 days", 30: "30 days"}
ROLES = {
    "owner": "everything, and makes owners",
    "admin": "everything in the organisation",
    "editor": "changes and runs experiments, uses the playground",
    "rater": "reads experiments, gives thumbs and scores",
    "viewer": "reads experiments",
}


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Membership.Role.choices)


class InvitationForm(RoleForm):
    note = forms.CharField(max_length=254, required=False)
    days = forms.TypedChoiceField(choices=list(LIFETIMES.items()), coerce=int)


class MembersView(OrgPage):
    required_permission = "org:members:manage"

    def show(self, template: str, **context: Any) -> HttpResponse:
        return render(self.request, f"orgs/{template}.html", {**self._members(), **context})

    def show_invitations(self, **context: Any) -> HttpResponse:
        context = {"invitations": self.invitations(), **context}
        return render(self.request, "orgs/partials/invitations_update.html", context)

    def invitations(self) -> list[Invitation]:
        return list(Invitation.objects.for_org(self.org).with_makers()[:INVITATIONS_SHOWN])

    def _members(self) -> dict[str, Any]:
        query = self.request.GET.get("q", "").strip()[:150]
        rows = self.org.memberships.select_related("user").order_by("user__username", "id")
        if query:
            rows = rows.filter(user__username__icontains=query)
        owner = Membership.Role.OWNER
        own = self.org.memberships.filter(user=self.user.pk, role=owner)
        handles_owners = self.user.is_superuser or own.exists()
        roles = [(role, words) for role, words in ROLES.items() if handles_owners or role != owner]
        page = Paginator(rows, SHOWN).get_page(self.request.GET.get("page"))
        return {"page": page, "query": query, "handles_owners": handles_owners, "roles": roles}

    def member(self, member_id: str) -> Membership:
        return find(self.org.memberships.select_related("user", "org"), member_id)

    def changed(self, message: str) -> HttpResponse:
        """The list anew; whoever has just given up the right to it is led to where they still may be."""
        if "org:members:manage" not in self.org.permissions_of(self.user):
            return HttpResponseClientRedirect(reverse("console:home"))
        return self.show("partials/members_update", message=message)


class MembersPage(MembersView):
    """For htmx: the list alone."""

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        if wants_partial(request):  # type: ignore[arg-type]
            return self.show("partials/members_list")
        return self.show(
            "members",
            invitations=self.invitations(),
            lifetimes=LIFETIMES.items(),
            usual_days=invitations.USUAL_DAYS,
        )


class ChangeRole(MembersView):
    def post(self, request: HttpRequest, org_id: str, member_id: str) -> HttpResponse:
        member = self.member(member_id)
        services.change_role(member, actor=self.user, role=checked(RoleForm(request.POST))["role"])
        return self.changed(f"{member.user.get_username()} is {member.get_role_display().lower()} now.")


class RemoveMember(MembersView):
    def post(self, request: HttpRequest, org_id: str, member_id: str) -> HttpResponse:
        member = self.member(member_id)
        services.remove_member(member, actor=self.user)
        return self.changed(f"{member.user.get_username()} is no member any more.")


class Invite(MembersView):
    """A new link, which is shown in the answer and never again."""

    def post(self, request: HttpRequest, org_id: str) -> HttpResponse:
        wanted = checked(InvitationForm(request.POST))
        made, token = invitations.invite(org=self.org, actor=self.user, **wanted)
        link = request.build_absolute_uri(reverse("join", args=[token]))
        response = self.show_invitations(made=made, link=link)
        response["Cache-Control"] = "no-store"
        return response


class RevokeInvitation(MembersView):
    def post(self, request: HttpRequest, org_id: str, invitation_id: str) -> HttpResponse:
        invitation = Invitation.objects.for_org(self.org).with_makers().find(invitation_id)
        invitations.revoke(invitation, actor=self.user)
        return self.show_invitations(message="The invitation is revoked.")
