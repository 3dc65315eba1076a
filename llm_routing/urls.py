from __future__ import annotations

from django.urls import URLPattern, path

from llm_routing.api import profiles, providers, registered_models

ORG = "orgs/<str:org_id>"
PROVIDER = f"{ORG}/providers/<str:provider_id>"

api_urlpatterns: list[URLPattern] = [
    path(f"{ORG}/chat-profiles", profiles.ProfileList.as_view(), name="profile-list"),
    path(f"{ORG}/chat-profiles/<str:profile_id>", profiles.ProfileDetail.as_view(), name="profile-detail"),
    path(f"{ORG}/providers", providers.ProviderList.as_view(), name="provider-list"),
    path(PROVIDER, providers.ProviderDetail.as_view(), name="provider-detail"),
    path(f"{PROVIDER}/sync", providers.ProviderSync.as_view(), name="provider-sync"),
    path(f"{ORG}/models", registered_models.ModelList.as_view(), name="model-list"),
    path(f"{ORG}/models/<str:model_id>", registered_models.ModelDetail.as_view(), name="model-detail"),
    path(f"{ORG}/default-model", registered_models.DefaultModel.as_view(), name="default-model"),
]
