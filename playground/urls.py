from __future__ import annotations

from django.urls import URLPattern, path

from playground import api, sessions_api, views

api_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/playground/complete", api.CompleteView.as_view(), name="playground-complete"),
    path("orgs/<str:org_id>/playground/stream", api.StreamView.as_view(), name="playground-stream"),
    path("orgs/<str:org_id>/playground/sessions", sessions_api.SessionList.as_view(), name="session-list"),
    path(
        "orgs/<str:org_id>/playground/sessions/<str:session_id>",
        sessions_api.SessionDetail.as_view(),
        name="session-detail",
    ),
]
console_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/playground", views.PlaygroundPage.as_view(), name="playground"),
]
