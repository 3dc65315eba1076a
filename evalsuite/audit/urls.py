from __future__ import annotations

from django.urls import URLPattern, path

from evalsuite.audit import api, views

api_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/audit", api.AuditList.as_view(), name="audit-list"),
    path("orgs/<str:org_id>/audit/export", api.AuditExport.as_view(), name="audit-export"),
]
console_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/audit", views.AuditPage.as_view(), name="audit"),
    path("orgs/<str:org_id>/audit/export", views.AuditFile.as_view(), name="audit-export"),
]
