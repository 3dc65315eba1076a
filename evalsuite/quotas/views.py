"""The Usage page: use against limits, and who used what."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from evalsuite.orgs.console import OrgPage
from evalsuite.quotas import charts, ledger
from evalsuite.quotas.models import OrgLimits
from evalsuite.quotas.reports import GROUPS, GroupBy, limits_in_use, told, total, usage, without

PERIODS = {"1": "Today", "7": "7 days", "30": "30 days", "365": "A year"}
USUAL = "30"
SHOWN = 100  # rows; the rest is summed up in one line
WORDS: dict[GroupBy, str] = {"user": "member"}


class UsagePage(OrgPage):
    required_permission = "org:usage:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        days = request.GET.get("days", USUAL)
        days = days if days in PERIODS else USUAL
        group_by = next((group for group in GROUPS if group == request.GET.get("by")), GROUPS[0])
        last = ledger.now().day
        first = last - timedelta(days=int(days) - 1)
        found = usage(self.org, group_by, first, last)
        # The chart has all days.
        rows = told(self.org, group_by, found if group_by == "day" else found[:SHOWN])
        shown, whole = rows[:SHOWN], total(self.org, first, last)
        context = {
            "limits": limits_in_use(self.org, self.user),
            "limits_admin": self._limits_admin() if self.user.is_superuser else "",
            "rows": list(zip(shown, charts.bars(shown), strict=True)),
            "charts": charts.by_day(rows, first, last) if group_by == "day" else [],
            "others": without(shown, whole),
            "total": whole,
            "group_by": group_by,
            "group_words": WORDS.get(group_by, group_by),
            "groups": [(group, WORDS.get(group, group)) for group in GROUPS],
            "days": days,
            "periods": PERIODS.items(),
        }
        return render(request, "quotas/page.html", context)

    def _limits_admin(self) -> str:
        """Where the operator, and nobody else, sets this org's limits."""
        own = OrgLimits.objects.for_org(self.org).first()
        if own:
            return reverse("admin:quotas_orglimits_change", args=[own.pk])
        return f"{reverse('admin:quotas_orglimits_add')}?org={self.org.pk}"
