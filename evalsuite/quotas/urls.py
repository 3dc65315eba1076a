from __future__ import annotations

from django.urls import URLPattern, path

from evalsuite.quotas import api, views

api_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/usage", api.UsageView.as_view(), name="usage"),
    path("orgs/<str:org_id>/limits", api.LimitsView.as_view(), name="limits"),
]
console_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/usage", views.UsagePage.as_view(), name="usage"),
]
