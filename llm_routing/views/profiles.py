"""The chat profiles page: one profile, what it said before, and what its buttons do."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from evalsuite.forms import checked
from evalsuite.orgs.console import OrgPage
from evalsuite.orgs.permissions import Permission
from llm_routing import services
from llm_routing.forms import NewProfileForm, ProfileForm
from llm_routing.models import ChatProfile, ModelDefault, RegisteredModel
from llm_routing.types import DEFAULT_TEMPERATURE, DEFAULT_TOP_P
from llm_routing.versions import changed_names, changes_between

LISTED = 500  # profiles in the list on the left
VERSIONS_PER_PAGE = 20
SHOWN_USERS = 20  # variants that use a profile


class ProfilesPage(OrgPage):
    """The list, with nothing selected."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str) -> HttpResponse:
        return render(request, "llm_routing/profiles.html", _listed(self))


class ProfilePage(OrgPage):
    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, profile_id: str) -> HttpResponse:
        profile = ChatProfile.objects.for_org(self.org).find(profile_id)
        context = {**_listed(self), **_detail(self, profile)}
        return render(request, "llm_routing/profiles.html", context)


class VersionPartial(OrgPage):
    """What one version changed, or what it has that the present one has not."""

    required_permission = "org:experiments:read"

    def get(self, request: HttpRequest, org_id: str, profile_id: str, version: str) -> HttpResponse:
        profile = ChatProfile.objects.for_org(self.org).find(profile_id)
        this = services.find_version(profile, version)
        former = profile.versions.filter(number__lt=this.number).first()
        against_present = request.GET.get("against") == "present" and this.number != profile.version
        before, after = (this, profile) if against_present else (former, this)
        context = {
            "profile": profile,
            "version": this,
            "former": former,
            "against_present": against_present,
            "changes": changes_between(before, after) if before else [],
        }
        return render(request, "llm_routing/partials/version.html", context)


class ProfileAction(OrgPage):
    required_permission: ClassVar[Permission | dict[str, Permission]] = "org:profiles:write"

    def profile(self, profile_id: str) -> ChatProfile:
        return ChatProfile.objects.for_org(self.org).select_related("org").find(profile_id)

    def show(self, profile: ChatProfile) -> HttpResponse:
        return HttpResponseClientRedirect(reverse("console:profile", args=[self.org.pk, profile.pk]))


class CreateProfile(ProfileAction):
    def post(self, request: HttpRequest, org_id: str) -> HttpResponse:
        form = NewProfileForm(request.POST)
        checked(form)
        return self.show(services.create_profile(org=self.org, actor=self.user, **form.facts(self.org)))


class SaveProfile(ProfileAction):
    def post(self, request: HttpRequest, org_id: str, profile_id: str) -> HttpResponse:
        profile = self.profile(profile_id)
        form = ProfileForm(request.POST)
        checked(form)
        services.update_profile(profile, actor=self.user, **form.facts(self.org))
        return self.show(profile)


class RestoreVersion(ProfileAction):
    def post(self, request: HttpRequest, org_id: str, profile_id: str, version: str) -> HttpResponse:
        profile = self.profile(profile_id)
        services.restore_profile(profile, services.find_version(profile, version), actor=self.user)
        return self.show(profile)


class DeleteProfile(ProfileAction):
    def post(self, request: HttpRequest, org_id: str, profile_id: str) -> HttpResponse:
        services.delete_profile(self.profile(profile_id), actor=self.user)
        return HttpResponseClientRedirect(reverse("console:profiles", args=[self.org.pk]))


def _listed(page: OrgPage) -> dict[str, Any]:
    default = ModelDefault.objects.filter(org=page.org).values_list("model", flat=True).first()
    return {
        "profiles": ChatProfile.objects.for_org(page.org)[:LISTED],
        "models": RegisteredModel.objects.usable_by(page.org).select_related("provider"),
        "default_model": default,
        "usual_temperature": DEFAULT_TEMPERATURE,
        "usual_top_p": DEFAULT_TOP_P,
        "can_write": "org:profiles:write" in page.permissions,
    }


def _detail(page: OrgPage, profile: ChatProfile) -> dict[str, Any]:
    """The profile with its model, its versions newest first, and who uses it."""
    usable = RegisteredModel.objects.usable_by(page.org)
    model = usable.filter(provider__slug=profile.model_provider, name=profile.model_name).first()
    versions = profile.versions.select_related("author")
    shown = Paginator(versions, VERSIONS_PER_PAGE).get_page(page.request.GET.get("page"))
    users = profile.variants.select_related("experiment").order_by("-id")
    return {
        "profile": profile,
        "model": model,
        "page": shown,
        "changed": changed_names(profile, list(shown)),
        "user_count": users.count(),
        "users": users[:SHOWN_USERS],
    }
