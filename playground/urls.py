from __future__ import annotations

from django.urls import URLPattern, path

from playground import api, compare_api, sessions_api, views

PLAYGROUND = "orgs/<str:org_id>/playground"

api_urlpatterns: list[URLPattern] = [
    path(f"{PLAYGROUND}/complete", api.CompleteView.as_view(), name="playground-complete"),
    path(f"{PLAYGROUND}/stream", api.StreamView.as_view(), name="playground-stream"),
    path(f"{PLAYGROUND}/sessions", sessions_api.SessionList.as_view(), name="session-list"),
    path(
        f"{PLAYGROUND}/sessions/<str:session_id>",
        sessions_api.SessionDetail.as_view(),
        name="session-detail",
    ),
    path(
        f"{PLAYGROUND}/sessions/<str:session_id>/messages",
        sessions_api.SessionMessages.as_view(),
        name="session-messages",
    ),
    path(f"{PLAYGROUND}/compare/stream", compare_api.CompareStream.as_view(), name="playground-compare"),
    path(
        f"{PLAYGROUND}/comparisons/<str:comparison_id>",
        sessions_api.ComparisonDetail.as_view(),
        name="comparison-detail",
    ),
    path(
        f"{PLAYGROUND}/comparisons/<str:comparison_id>/stop",
        compare_api.StopComparison.as_view(),
        name="comparison-stop",
    ),
]
console_urlpatterns: list[URLPattern] = [
    path(PLAYGROUND, views.BenchPage.as_view(), name="playground"),
    path(f"{PLAYGROUND}/history", views.HistoryPage.as_view(), name="playground-history"),
    path(f"{PLAYGROUND}/sessions/<str:session_id>", views.SessionPage.as_view(), name="playground-session"),
    path(
        f"{PLAYGROUND}/sessions/<str:session_id>/delete",
        views.DeleteSession.as_view(),
        name="playground-delete",
    ),
]
