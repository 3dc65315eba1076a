"""Writing the registry: chat profiles, an org's own providers, and its models."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import RestrictedError

from evalsuite.audit import changes
from evalsuite.audit.services import record
from evalsuite.errors import Conflict, InvalidBody, NotFound
from evalsuite.orgs.models import Org, User
from llm_routing import registry
from llm_routing.models import ChatProfile, ChatProfileVersion, ModelDefault, RegisteredModel

PROFILE_FACTS = [
    "name",
    "system_prompt",
    "model_provider",
    "model_name",
    "temperature",
    "top_p",
    "max_tokens",
]


@transaction.atomic
def create_profile(*, org: Org, actor: User, **fields: Any) -> ChatProfile:
    """Raises ModelNotFound for a model that the org may not call, Conflict for a name it has already."""
    profile = ChatProfile(org=org, **{**fields, **_model_of(org, fields)})
    facts = changes.told(profile, PROFILE_FACTS)
    changes.create(profile, "chat_profile.created", org=org, actor=actor, facts=facts)
    keep_version(profile, author=actor)
    return profile


@transaction.atomic
def update_profile(profile: ChatProfile, *, actor: User, **fields: Any) -> None:
    """A change makes the next version, and the former ones stay. Raises as `create_profile`."""
    _change(profile, "chat_profile.updated", actor, fields)


def find_version(profile: ChatProfile, number: str) -> ChatProfileVersion:
    """By the number in a URL. Raises NotFound."""
    if number.isascii() and number.isdigit() and len(number) < 10:
        version = profile.versions.filter(number=int(number)).select_related("author").first()
        if version is not None:
            return version
    raise NotFound("chat profile version")


@transaction.atomic
def restore_profile(profile: ChatProfile, version: ChatProfileVersion, *, actor: User) -> None:
    """Make what an earlier version said the next version. Raises as `create_profile`."""
    fields = {name: getattr(version, name) for name in PROFILE_FACTS}
    _change(profile, "chat_profile.restored", actor, fields, restored_from=version.number)


def _change(
    profile: ChatProfile, event: str, actor: User, fields: dict[str, Any], restored_from: int | None = None
) -> None:
    profile.refresh_from_db(from_queryset=ChatProfile.objects.select_for_update())
    if {"model_provider", "model_name"} & fields.keys():
        names = {"model_provider": profile.model_provider, "model_name": profile.model_name}
        fields = {**fields, **_model_of(profile.org, {**names, **fields})}
    if all(getattr(profile, name) == value for name, value in fields.items()):
        return
    fields = {**fields, "version": profile.version + 1}
    changes.update(profile, event, org=profile.org, actor=actor, changes=fields)
    keep_version(profile, author=actor, restored_from=restored_from)


def keep_version(profile: ChatProfile, *, author: User | None, restored_from: int | None = None) -> None:
    """Write down what the profile says now, under its number. In the transaction of its change."""
    facts = {name: getattr(profile, name) for name in PROFILE_FACTS}
    ChatProfileVersion.objects.create(
        profile=profile, number=profile.version, author=author, restored_from=restored_from, **facts
    )


def delete_profile(profile: ChatProfile, *, actor: User) -> None:
    """With its versions. Raises Conflict where variants of experiments use it."""
    facts = changes.told(profile, ["name", "version"])
    try:
        changes.delete(profile, "chat_profile.deleted", org=profile.org, actor=actor, facts=facts)
    except RestrictedError as error:
        users = len(error.restricted_objects)
        told = "1 variant" if users == 1 else f"{users} variants"
        raise Conflict(f"This chat profile is used by {told}.", variants=users) from error


def _model_of(org: Org, fields: dict[str, Any]) -> dict[str, str]:
    model = registry.resolve(org, fields.get("model_provider"), fields["model_name"])
    return {"model_provider": model.provider.slug, "model_name": model.name}


def set_num_ctx(model: RegisteredModel, *, org: Org, actor: User, num_ctx: int | None) -> None:
    """Raises InvalidBody for more than the model has."""
    _require_own(model, org)
    if num_ctx and model.context_tokens and num_ctx > model.context_tokens:
        most = f"{model.context_tokens:,}"
        raise InvalidBody({"numCtx": [f"The model has a context of {most} tokens at most."]})
    changes.update(model, "model.updated", org=org, actor=actor, changes={"num_ctx": num_ctx})


def delete_model(model: RegisteredModel, *, org: Org, actor: User) -> None:
    """Results keep its name. The next sync finds it again where the provider still lists it."""
    _require_own(model, org)
    facts = {"modelProvider": model.provider.slug, "modelName": model.name}
    changes.delete(model, "model.deleted", org=org, actor=actor, facts=facts)


def _require_own(model: RegisteredModel, org: Org) -> None:
    if model.provider.org_id != org.pk:
        raise PermissionDenied("This model is shared by all organisations: the operator manages it.")


@transaction.atomic
def set_default_model(
    org: Org, *, actor: User, model_provider: str | None, model_name: str
) -> RegisteredModel:
    """Raises ModelNotFound for a model that the org may not call."""
    model = registry.resolve(org, model_provider, model_name)
    Org.objects.select_for_update().get(pk=org.pk)
    before = ModelDefault.objects.filter(org=org).select_related("model__provider").first()
    if before is None or before.model_id != model.pk:
        ModelDefault.objects.update_or_create(org=org, defaults={"model": model})
        record(
            "org.default_model.changed",
            org=org,
            actor=actor,
            subject=org,
            before=_names(before.model) if before else None,
            after=_names(model),
        )
    return model


def _names(model: RegisteredModel) -> dict[str, str]:
    return {"modelProvider": model.provider.slug, "modelName": model.name}
