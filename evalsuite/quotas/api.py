"""What an org has used, and its use against its limits."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evalsuite.documents import LIST_ERRORS, READ_ERRORS
from evalsuite.fields import RowSerializer
from evalsuite.openapi import DAY, PAGE_PARAMETERS, following
from evalsuite.orgs.resources import Paged, Resource
from evalsuite.pagination import Ranked
from evalsuite.quotas import ledger
from evalsuite.quotas.periods import MOST_DAYS, USUAL_DAYS, group_of, period_of
from evalsuite.quotas.reports import GROUPS, LimitInUse, limits_in_use, told, total, usage
from evalsuite.quotas.values import WORDS


class SumsSerializer(RowSerializer):
    calls = serializers.IntegerField(help_text="Calls whose results were recorded.")
    inputTokens = serializers.IntegerField(source="input_tokens")
    outputTokens = serializers.IntegerField(source="output_tokens")


class UsageSerializer(SumsSerializer):
    key = serializers.CharField(
        allow_null=True,
        help_text="A day, `PROVIDER/MODEL`, or the id of a user or an experiment; null: of none.",
    )
    name = serializers.CharField(help_text="The same for people.")


class UsageReportSerializer(serializers.Serializer[object]):
    """Tokens as far as providers told them. Days by UTC, newest first; all else by tokens."""

    groupBy = serializers.ChoiceField(choices=GROUPS)
    first = serializers.DateField()
    last = serializers.DateField()
    usage = UsageSerializer(many=True)
    total = SumsSerializer(help_text="Of all pages.")
    next = following()


class LimitSerializer(serializers.Serializer[LimitInUse]):
    name = serializers.ChoiceField(choices=sorted(WORDS))
    limit = serializers.IntegerField(allow_null=True, help_text="null: none.")
    used = serializers.IntegerField(
        allow_null=True,
        help_text="With what calls in the air may use; `playgroundPerMinute`: the caller. null: uncounted.",
    )
    resetsAt = serializers.DateTimeField(
        source="resets_at", allow_null=True, help_text="When it begins anew. null: it never does."
    )


class LimitsSerializer(serializers.Serializer[object]):
    limits = LimitSerializer(many=True)


class UsageView(Resource, Paged):
    required_permission = "org:usage:read"
    pagination_class = Ranked
    list_key = "usage"

    @extend_schema(
        operation_id="usage_read",
        parameters=[
            *PAGE_PARAMETERS,
            OpenApiParameter("groupBy", {"type": "string", "enum": list(GROUPS), "default": GROUPS[0]}),
            OpenApiParameter(
                "from",
                DAY,
                description=f"The first day; {USUAL_DAYS} days up to `to` where it is left out.",
            ),
            OpenApiParameter(
                "to",
                DAY,
                description=f"The last day, at most {MOST_DAYS} days in all; today where it is left out.",
            ),
        ],
        responses={200: UsageReportSerializer, **LIST_ERRORS},
    )
    def get(self, request: Request, org_id: str) -> Response:
        group_by = group_of(request.query_params)
        period = period_of(request.query_params, ledger.now().day)
        page = self.page(usage(self.org, group_by, period.first, period.last))
        report = {
            "groupBy": group_by,
            "first": period.first,
            "last": period.last,
            "total": total(self.org, period.first, period.last),
            **self.get_paginated_response(told(self.org, group_by, page)).data,
        }
        return Response(UsageReportSerializer(report).data)


class LimitsView(Resource):
    required_permission = "org:usage:read"

    @extend_schema(operation_id="limits_read", responses={200: LimitsSerializer, **READ_ERRORS})
    def get(self, request: Request, org_id: str) -> Response:
        return Response(LimitsSerializer({"limits": limits_in_use(self.org, self.user)}).data)
