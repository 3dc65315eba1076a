"""Who the caller is, and the orgs that they work in."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.api import StrictCharField, StrictSerializer
from evalsuite.documents import READ_ERRORS, WRITE_ERRORS
from evalsuite.openapi import PAGE_PARAMETERS, envelope, errors, page_of
from evalsuite.orgs import services
from evalsuite.orgs.account_views import AccountView
from evalsuite.orgs.models import Membership, Org, User
from evalsuite.orgs.permissions import ALL, ROLE_PERMISSIONS
from evalsuite.orgs.resources import Paged, Resource

ORGS_WITH_ME = 200


class OrgBody(StrictSerializer):
    name = StrictCharField(max_length=128, required=False)


class OrgSerializer(serializers.Serializer[Org]):
    """With what the caller may do in it. A superuser without a membership has no role."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField()
    role = serializers.ChoiceField(choices=Membership.Role.values, allow_null=True)
    permissions = serializers.ListField(child=serializers.ChoiceField(choices=sorted(ALL)))
    createdAt = serializers.DateTimeField(source="created_at")

    def to_representation(self, instance: Org) -> dict[str, Any]:
        user: User = self.context["user"]
        mine: list[Membership] = instance.mine  # type: ignore[attr-defined]
        instance.role = role = mine[0].role if mine else None  # type: ignore[attr-defined]
        if user.acting_key:
            granted = instance.permissions_of(user)
        else:
            granted = ALL if user.is_superuser else ROLE_PERMISSIONS[role] if role else frozenset()
        instance.permissions = sorted(granted)  # type: ignore[attr-defined]
        return super().to_representation(instance)


class MeSerializer(serializers.Serializer[User]):
    id = serializers.UUIDField()
    username = serializers.CharField()
    email = serializers.CharField()
    firstName = serializers.CharField(source="first_name")
    lastName = serializers.CharField(source="last_name")
    isSuperuser = serializers.BooleanField(source="is_superuser")
    orgs = OrgSerializer(many=True, help_text=f"The first {ORGS_WITH_ME} by name; `/orgs` lists all.")


def orgs_of(user: User) -> QuerySet[Org]:
    """The orgs that the caller sees, each with the caller's own membership as `mine`."""
    memberships = Prefetch("memberships", Membership.objects.filter(user=user), to_attr="mine")
    return Org.objects.visible_to(user).prefetch_related(memberships)


class MeView(AccountView):
    @extend_schema(operation_id="me", responses={200: envelope("user", MeSerializer), **errors(401, 406)})
    def get(self, request: Request) -> Response:
        user = self.user
        user.orgs = orgs_of(user)[:ORGS_WITH_ME]  # type: ignore[attr-defined]
        return Response({"user": MeSerializer(user, context={"user": user}).data})


@extend_schema_view(
    get=extend_schema(
        operation_id="org_list",
        parameters=[*PAGE_PARAMETERS],
        responses={200: page_of("orgs", OrgSerializer), **errors(400, 401, 404, 406)},
    )
)
class OrgList(AccountView, Paged):
    list_key = "orgs"
    serializer_class = OrgSerializer

    def get_queryset(self) -> QuerySet[Org]:
        return orgs_of(self.user)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "user": self.user}


class OrgDetail(Resource):
    required_permission = {"GET": "org:experiments:read", "PATCH": "org:members:manage"}

    @extend_schema(operation_id="org_read", responses={200: envelope("org", OrgSerializer), **READ_ERRORS})
    def get(self, request: Request, org_id: str) -> Response:
        return self._answer()

    @extend_schema(
        operation_id="org_update",
        request=OrgBody(partial=True),
        responses={200: envelope("org", OrgSerializer), **WRITE_ERRORS},
    )
    def patch(self, request: Request, org_id: str) -> Response:
        services.update_org(self.org, actor=self.user, **self.checked(OrgBody, partial=True))
        return self._answer()

    def _answer(self) -> Response:
        org = orgs_of(self.user).get(pk=self.org.pk)
        return Response({"org": OrgSerializer(org, context={"user": self.user}).data})
