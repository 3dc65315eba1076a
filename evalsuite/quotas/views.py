"""The Usage page: use against limits, and who used what."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from evalsuite.orgs.console import OrgPage
from evalsuite.quotas import ledger
from evalsuite.quotas.reports import GROUPS, limits_in_use, total, usage

PERIODS = {"1": "Today", "7": "7 days", "30": "30 days", "365": "A year"}
USUAL = "30"
SHOWN = 100  # rows; the rest is summed up in one line


class UsagePage(OrgPage):
    required_permission = "org:usage:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        days = request.GET.get("days", USUAL)
        days = days if days in PERIODS else USUAL
        group_by = next((group for group in GROUPS if group == request.GET.get("by")), GROUPS[0])
        today = ledger.now().day
        rows = usage(self.org, group_by, today - timedelta(days=int(days) - 1), today)
        context = {
            "limits": limits_in_use(self.org, self.user),
            "rows": rows[:SHOWN],
            "others": total(rows[SHOWN:]),
            "hidden": len(rows[SHOWN:]),
            "total": total(rows),
            "group_by": group_by,
            "groups": GROUPS,
            "days": days,
            "periods": PERIODS.items(),
        }
        return render(request, "quotas/page.html", context)
