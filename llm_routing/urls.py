from __future__ import annotations

from django.urls import URLPattern, path

from llm_routing.api import profiles, providers, pulls, registered_models
from llm_routing.views import profiles as profile_pages
from llm_routing.views import registry as registry_pages
from llm_routing.views import servers as server_pages

ORG = "orgs/<str:org_id>"
PROFILE = f"{ORG}/chat-profiles/<str:profile_id>"
PROVIDER = f"{ORG}/providers/<str:provider_id>"

api_urlpatterns: list[URLPattern] = [
    path(f"{ORG}/chat-profiles", profiles.ProfileList.as_view(), name="profile-list"),
    path(PROFILE, profiles.ProfileDetail.as_view(), name="profile-detail"),
    path(f"{PROFILE}/versions", profiles.VersionList.as_view(), name="profile-versions"),
    path(
        f"{PROFILE}/versions/<str:version>/restore",
        profiles.VersionRestore.as_view(),
        name="profile-version-restore",
    ),
    path(f"{ORG}/providers", providers.ProviderList.as_view(), name="provider-list"),
    path(PROVIDER, providers.ProviderDetail.as_view(), name="provider-detail"),
    path(f"{PROVIDER}/sync", providers.ProviderSync.as_view(), name="provider-sync"),
    path(f"{PROVIDER}/test", providers.ProviderTest.as_view(), name="provider-test"),
    path(f"{PROVIDER}/pull", pulls.ProviderPull.as_view(), name="provider-pull"),
    path(f"{ORG}/models", registered_models.ModelList.as_view(), name="model-list"),
    path(f"{ORG}/models/<str:model_id>", registered_models.ModelDetail.as_view(), name="model-detail"),
    path(f"{ORG}/default-model", registered_models.DefaultModel.as_view(), name="default-model"),
]
PROFILES = f"{ORG}/profiles"
ONE_PROFILE = f"{PROFILES}/<str:profile_id>"
MODELS = f"{ORG}/models"
OWN_PROVIDER = f"{MODELS}/providers/<str:provider_id>"
ENDPOINTS = f"{PROVIDER}/endpoints"
ENDPOINT = f"{ENDPOINTS}/<str:endpoint_id>"

console_urlpatterns: list[URLPattern] = [
    path(PROFILES, profile_pages.ProfilesPage.as_view(), name="profiles"),
    path(f"{PROFILES}/new", profile_pages.CreateProfile.as_view(), name="profile-create"),
    path(ONE_PROFILE, profile_pages.ProfilePage.as_view(), name="profile"),
    path(f"{ONE_PROFILE}/save", profile_pages.SaveProfile.as_view(), name="profile-save"),
    path(f"{ONE_PROFILE}/delete", profile_pages.DeleteProfile.as_view(), name="profile-delete"),
    path(
        f"{ONE_PROFILE}/versions/<str:version>",
        profile_pages.VersionPartial.as_view(),
        name="profile-version-partial",
    ),
    path(
        f"{ONE_PROFILE}/versions/<str:version>/restore",
        profile_pages.RestoreVersion.as_view(),
        name="profile-restore",
    ),
    path(MODELS, registry_pages.ModelsPage.as_view(), name="models"),
    path(f"{MODELS}/default", registry_pages.MakeDefault.as_view(), name="model-default"),
    path(f"{OWN_PROVIDER}/sync", registry_pages.SyncProvider.as_view(), name="provider-sync"),
    path(f"{OWN_PROVIDER}/test", registry_pages.ConnectionTest.as_view(), name="provider-test-partial"),
    path(f"{MODELS}/<str:model_id>/context", registry_pages.SetContext.as_view(), name="model-context"),
    path(f"{ORG}/providers", server_pages.ServersPage.as_view(), name="providers"),
    path(f"{ORG}/providers/health", server_pages.HealthPartial.as_view(), name="providers-health-partial"),
    path(f"{PROVIDER}/save", server_pages.SaveProvider.as_view(), name="provider-save"),
    path(f"{PROVIDER}/delete", server_pages.DeleteProvider.as_view(), name="provider-delete"),
    path(ENDPOINTS, server_pages.AddEndpoint.as_view(), name="endpoint-add"),
    path(f"{ENDPOINT}/save", server_pages.SaveEndpoint.as_view(), name="endpoint-save"),
    path(f"{ENDPOINT}/delete", server_pages.DeleteEndpoint.as_view(), name="endpoint-delete"),
]
