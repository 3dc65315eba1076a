"""Which models there are: kept in step with the servers, and looked up for an org."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from evalsuite.orgs.models import Org
from evalsuite.prepared import Prepared
from llm_routing import addresses
from llm_routing.errors import ModelNotFound
from llm_routing.models import Endpoint, ModelDefault, Provider, RegisteredModel
from llm_routing.providers.base import Provider as ProviderClient
from llm_routing.providers.kinds import PROVIDER_KINDS
from llm_routing.providers.transport import Transport
from llm_routing.types import Limits, ModelInfo

DEFAULT_PROVIDER = "ollama"
LISTING = Limits(connect_s=3, first_token_s=10, idle_s=10, total_s=20)


def resolve(org: Org, provider: str | None, name: str | None) -> RegisteredModel:
    """The model that a request of this org means, with its provider at hand.

    A provider alone is not enough to choose a model; nothing at all means the org's default.
    Raises ModelNotFound, never answers with another model than the one asked for.
    """
    if name is None:
        model = DEFAULT_MODEL.first(org.pk)
        if model is None or (provider is not None and model.provider.slug != provider):
            where = f" of the provider {provider}" if provider else ""
            raise ModelNotFound(f"No model was named, and the organisation has no default model{where}.")
        return model
    slug = provider or DEFAULT_PROVIDER
    model = NAMED_MODEL.first(org.pk, slug, *_spellings(name))
    if model is None:
        raise ModelNotFound(
            f"The provider {slug} has no model {name} for this organisation.",
            modelProvider=slug,
            modelName=name,
        )
    return model


def _spellings(name: str) -> tuple[str, str]:
    """Ollama takes a name without a tag for `latest`."""
    return name, name if ":" in name else f"{name}:latest"


DEFAULT_MODEL = Prepared(
    lambda org: (
        RegisteredModel.objects.usable_by(org)
        .filter(pk__in=ModelDefault.objects.filter(org=org).values("model"))
        .select_related("provider")
    ),
    UUID,
)
# By name, so that the very name asked for comes before the one with the tag added.
NAMED_MODEL = Prepared(
    lambda org, slug, name, tagged: (
        RegisteredModel.objects.usable_by(org)
        .filter(provider__slug=slug, name__in=[name, tagged])
        .order_by("name")
        .select_related("provider")
    ),
    *(UUID, str, str, str),
)


def client_for(kind: str, base_url: str, api_key: str, *, guarded: bool) -> ProviderClient:
    """A client for one endpoint. Clients hold pooled connections: keep them, see `routing`.

    `guarded`: an org named the address, so it may lead only where orgs may send requests.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    guard = addresses.guard(settings.PRIVATE_PROVIDER_NETWORKS) if guarded else None
    return PROVIDER_KINDS[kind](Transport(base_url, headers=headers, guard=guard))


@dataclass(frozen=True, slots=True)
class SyncResult:
    """Names of models, by what happened to them."""

    added: list[str]
    updated: list[str]
    gone: list[str]


def sync_provider(provider: Provider, *, tell: Callable[[SyncResult], None] | None = None) -> SyncResult:
    """Bring the registry in step with what the provider's endpoints list.

    `tell` is called in the transaction of what was written, for its audit event.

    A model that is listed no more is kept, since results refer to it, and marked as not available.
    Raises the provider's error where an endpoint cannot be asked; nothing is changed then.
    """
    listed: dict[str, ModelInfo] = {}
    for endpoint in Endpoint.objects.filter(provider=provider, enabled=True):
        client = client_for(provider.kind, endpoint.base_url, provider.api_key, guarded=bool(provider.org_id))
        listed.update({info.name: info for info in client.list_models(limits=LISTING)})
    with transaction.atomic():
        result = _write(provider, listed)
        if tell:
            tell(result)
    return result


def _write(provider: Provider, listed: dict[str, ModelInfo]) -> SyncResult:
    known = {model.name: model for model in RegisteredModel.objects.filter(provider=provider)}
    result = SyncResult([], [], [])
    for name, info in listed.items():
        facts = _facts(info)
        model = known.get(name)
        if model is None:
            RegisteredModel.objects.create(provider=provider, name=name, **facts)
            result.added.append(name)
            continue
        changed = any(
            getattr(model, field) != value for field, value in facts.items() if field != "last_seen_at"
        )
        RegisteredModel.objects.filter(pk=model.pk).update(**facts)
        if changed:
            result.updated.append(name)
    gone = RegisteredModel.objects.filter(provider=provider, available=True).exclude(name__in=listed)
    result.gone.extend(gone.values_list("name", flat=True))
    gone.update(available=False)
    return result


def _facts(info: ModelInfo) -> dict[str, Any]:
    return {
        "digest": info.digest or "",
        "size_bytes": info.size_bytes,
        "context_tokens": info.context_tokens,
        "capabilities": list(info.capabilities),
        "details": dict(info.details),
        "available": True,
        "last_seen_at": timezone.now(),
    }
