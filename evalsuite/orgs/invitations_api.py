"""Invitations by link: list, make, revoke; and what whoever got a link does with it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema_view, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictIntegerField, StrictSerializer
from evalsuite.documents import acts, creates, describes, lists
from evalsuite.fields import PersonSerializer
from evalsuite.orgs import invitations
from evalsuite.orgs.account_views import AccountView
from evalsuite.orgs.models import Invitation, Membership
from evalsuite.orgs.resources import Detail, Paged, Resource, checked

ROLES = Membership.Role.values


class InvitationBody(StrictSerializer):
    role = serializers.ChoiceField(choices=ROLES)
    note = StrictCharField(
        max_length=254, default="", allow_blank=True, help_text="For whom it is; nothing is sent there."
    )
    expiresInDays = StrictIntegerField(
        source="days", min_value=1, max_value=invitations.LONGEST_DAYS, default=invitations.USUAL_DAYS
    )


class InvitationSerializer(serializers.Serializer[Invitation]):
    id = serializers.UUIDField()
    role = serializers.ChoiceField(choices=ROLES)
    note = serializers.CharField()
    state = serializers.ChoiceField(
        choices=Invitation.State.values, help_text="`void`: whoever made it could not make it now."
    )
    createdBy = PersonSerializer(source="creator", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")
    revokedAt = serializers.DateTimeField(source="revoked_at", allow_null=True)
    usedAt = serializers.DateTimeField(source="used_at", allow_null=True)
    usedBy = PersonSerializer(source="used_by", allow_null=True)


NEW_INVITATION = inline_serializer(
    "NewInvitationAnswer",
    {
        "invitation": InvitationSerializer(),
        "token": serializers.CharField(help_text="What is in the link: shown this once, and kept by nobody."),
        "url": serializers.CharField(help_text="The link."),
    },
)


@extend_schema_view(get=lists("invitation", "invitations", InvitationSerializer))
class InvitationList(Resource, Paged):
    required_permission = "org:members:manage"
    list_key = "invitations"
    serializer_class = InvitationSerializer

    def get_queryset(self) -> QuerySet[Invitation]:
        return Invitation.objects.for_org(self.org).with_makers()

    @creates("invitation", InvitationBody, NEW_INVITATION)
    def post(self, request: Request, **ids: str) -> Response:
        made, token = invitations.invite(org=self.org, actor=self.user, **self.checked(InvitationBody))
        row = self.get_queryset().find(made.pk)  # type: ignore[attr-defined]
        url = request.build_absolute_uri(reverse("join", args=[token]))
        answer = {"invitation": InvitationSerializer(row).data, "token": token, "url": url}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


@extend_schema_view(**describes("invitation", "invitation", InvitationSerializer, None))
class InvitationDetail(Detail):
    """One that is revoked stays in the list. It cannot be changed: make another one."""

    required_permission = "org:members:manage"
    http_method_names = ["get", "delete", "head", "options"]
    key = "invitation"
    answer = InvitationSerializer

    def find(self) -> Invitation:
        return Invitation.objects.for_org(self.org).with_makers().find(self.kwargs["invitation_id"])

    def remove(self, row: Any) -> None:
        invitations.revoke(row, actor=self.user)


class AcceptBody(StrictSerializer):
    token = StrictCharField(max_length=128)


JOINED = inline_serializer(
    "JoinedAnswer", {"orgId": serializers.UUIDField(), "role": serializers.ChoiceField(choices=ROLES)}
)


class AcceptInvitation(AccountView):
    """The caller joins the organisation of a link. Whoever has no account signs up on the link's page."""

    @acts("invitation_accept", AcceptBody, {200: JOINED}, statuses=(429,))
    def post(self, request: Request) -> Response:
        if self.user.acting_key:
            raise PermissionDenied("A key joins no organisation: that is for people.")
        token = checked(AcceptBody, request.data)["token"]
        member = invitations.accept(token, user=self.user)
        return Response({"orgId": str(member.org_id), "role": member.role})
