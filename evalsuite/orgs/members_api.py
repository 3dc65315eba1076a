"""The members of an org and their roles."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import creates, describes, lists
from evalsuite.fields import PersonSerializer
from evalsuite.openapi import envelope
from evalsuite.orgs import services
from evalsuite.orgs.models import Membership
from evalsuite.orgs.querysets import find
from evalsuite.orgs.resources import Detail, Paged, Resource

ROLES = Membership.Role.values


class MemberChanges(StrictSerializer):
    role = serializers.ChoiceField(choices=ROLES)


class MemberBody(MemberChanges):
    """The account must exist: accounts are made in the admin, and by those who are invited."""

    username = StrictCharField(max_length=150, trim_whitespace=False)


class MemberSerializer(serializers.Serializer[Membership]):
    id = serializers.UUIDField(help_text="Of the membership, for the addresses below this one.")
    user = PersonSerializer()
    role = serializers.ChoiceField(choices=ROLES)
    createdAt = serializers.DateTimeField(source="created_at")
    lastSignedInAt = serializers.DateTimeField(
        source="user.last_login", allow_null=True, help_text="By page or token. null: not yet."
    )


@extend_schema_view(get=lists("member", "members", MemberSerializer))
class MemberList(Resource, Paged):
    required_permission = "org:members:manage"
    list_key = "members"
    serializer_class = MemberSerializer

    def get_queryset(self) -> QuerySet[Membership]:
        return self.org.memberships.select_related("user")

    @creates("member", MemberBody, envelope("member", MemberSerializer))
    def post(self, request: Request, **ids: str) -> Response:
        member = services.add_member(org=self.org, actor=self.user, **self.checked(MemberBody))
        return Response({"member": MemberSerializer(member).data}, status=201)


@extend_schema_view(**describes("member", "member", MemberSerializer, MemberChanges))
class MemberDetail(Detail):
    required_permission = "org:members:manage"
    key = "member"
    answer = MemberSerializer
    changes_body = MemberChanges

    def find(self) -> Membership:
        return find(self.org.memberships.select_related("user", "org"), self.kwargs["member_id"])

    def change(self, row: Membership, given: dict[str, Any]) -> None:
        if given:
            services.change_role(row, actor=self.user, role=given["role"])

    def remove(self, row: Membership) -> None:
        services.remove_member(row, actor=self.user)
