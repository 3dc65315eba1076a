from __future__ import annotations

from django.urls import URLPattern, path

from playground import api, views

api_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/playground/complete", api.CompleteView.as_view(), name="playground-complete"),
    path("orgs/<str:org_id>/playground/stream", api.StreamView.as_view(), name="playground-stream"),
]
console_urlpatterns: list[URLPattern] = [
    path("orgs/<str:org_id>/playground", views.PlaygroundPage.as_view(), name="playground"),
]
