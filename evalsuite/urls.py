"""Every address of the product."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from evalsuite import health, schema
from evalsuite.audit import urls as audit
from evalsuite.orgs import urls as orgs
from evalsuite.quotas import urls as quotas
from experiments import urls as experiments
from llm_routing import urls as llm_routing
from playground import urls as playground

admin.autodiscover()

api = [
    *orgs.api_urlpatterns,
    *quotas.api_urlpatterns,
    *audit.api_urlpatterns,
    *llm_routing.api_urlpatterns,
    *playground.api_urlpatterns,
    *experiments.api_urlpatterns,
]
console = [
    *orgs.console_urlpatterns,
    *playground.console_urlpatterns,
    *experiments.console_urlpatterns,
    *llm_routing.console_urlpatterns,
    *quotas.console_urlpatterns,
    *audit.console_urlpatterns,
]

urlpatterns = [
    *orgs.account_urlpatterns,  # before the admin, whose log-in page they take over
    path("api/v1/schema", schema.SchemaView.as_view(), name="schema"),
    path("api/v1/docs", schema.DocsView.as_view(), name="docs"),
    path("api/v1/", include((api, "api"))),
    path("app/", include((console, "console"))),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]

handler400 = "evalsuite.web.bad_request"
handler403 = "evalsuite.web.permission_denied"
handler404 = "evalsuite.web.page_not_found"
handler500 = "evalsuite.web.server_error"
