"""Writing an org's own providers. Those without an org are the operator's, managed in the admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction

from evalsuite.audit import changes
from evalsuite.audit.services import record
from evalsuite.errors import Conflict, InvalidBody
from evalsuite.orgs.models import Org, User
from llm_routing import registry
from llm_routing.addresses import AddressNotAllowed, require_allowed
from llm_routing.diagnosis import Diagnosis, diagnose
from llm_routing.models import Endpoint, Provider

SHARED = "This provider is shared by all organisations: the operator manages it."


class Place(TypedDict):
    """An endpoint as a body names it."""

    base_url: str
    slots: int
    weight: int
    enabled: NotRequired[bool]  # left out: as it is, and on for a new one


Places = dict[str, dict[str, int | bool]]  # by address


def create_provider(*, org: Org, actor: User, endpoints: Sequence[Place], **fields: Any) -> Provider:
    """Raises InvalidBody for an address that no org may use, Conflict for a slug that the org has."""
    _require_places(endpoints)
    provider = Provider(org=org, **fields)
    facts = {
        **changes.told(provider, ["slug", "name", "kind"]),
        "hasApiKey": bool(provider.api_key),
        "addresses": [place["base_url"] for place in endpoints],
    }
    with transaction.atomic():
        changes.create(provider, "provider.created", org=org, actor=actor, facts=facts)
        _write_places(provider, _by_address(endpoints, {}))
    return provider


def update_provider(provider: Provider, *, org: Org, actor: User, **fields: Any) -> None:
    """Change what is given; `endpoints` replaces all of them.

    An address that was not there before wipes the key unless it is sent anew: a key goes to the
    server that it was entered for and to no other. Raises as `create_provider`.
    """
    require_own(provider, org)
    endpoints: Sequence[Place] | None = fields.pop("endpoints", None)
    if endpoints is not None:
        _require_places(endpoints)
    with transaction.atomic():
        provider.refresh_from_db(from_queryset=Provider.objects.select_for_update())
        places = _told_places(provider)
        wanted = places if endpoints is None else _by_address(endpoints, places)
        if wanted.keys() - places.keys():
            fields.setdefault("api_key", "")
        before, after = _differences(provider, fields)
        if wanted != places:
            before["endpoints"], after["endpoints"] = places, wanted
            _write_places(provider, wanted)
        if not after:
            return
        changes.save(provider, update_fields=list(fields))
        record("provider.updated", org=org, actor=actor, subject=provider, before=before, after=after)


@transaction.atomic
def put_endpoint(
    provider: Provider,
    place: Place,
    *,
    org: Org,
    actor: User,
    instead_of: Endpoint | None = None,
    api_key: str = "",
) -> None:
    """One more endpoint, or this one in place of another. Raises as `update_provider`, which see for keys."""
    require_own(provider, org)
    others = _other_places(provider, instead_of)
    given = {"api_key": api_key} if api_key else {}
    update_provider(provider, org=org, actor=actor, endpoints=[*others, place], **given)


@transaction.atomic
def remove_endpoint(endpoint: Endpoint, *, org: Org, actor: User) -> None:
    """Raises Conflict for the only one."""
    provider = endpoint.provider
    require_own(provider, org)
    others = _other_places(provider, endpoint)
    if not others:
        raise Conflict("This is the only address of the server. Switch it off, or delete the server.")
    update_provider(provider, org=org, actor=actor, endpoints=others)


def _other_places(provider: Provider, endpoint: Endpoint | None) -> list[Place]:
    """The endpoints but this one, as they are now: the provider is locked until the transaction ends."""
    Provider.objects.select_for_update().get(pk=provider.pk)
    rows = provider.endpoints.exclude(pk=endpoint.pk) if endpoint else provider.endpoints.all()
    return [
        Place(base_url=row.base_url, slots=row.slots, weight=row.weight, enabled=row.enabled)
        for row in rows.order_by("id")
    ]


def delete_provider(provider: Provider, *, org: Org, actor: User) -> None:
    """With its models. Results keep their names."""
    require_own(provider, org)
    facts = {**changes.told(provider, ["slug", "name", "kind"]), "models": provider.offers.count()}
    changes.delete(provider, "provider.deleted", org=org, actor=actor, facts=facts)


def sync(provider: Provider, *, org: Org, actor: User) -> registry.SyncResult:
    """Ask the provider for its models. Raises its error; nothing is changed then."""
    require_manager(provider, org, actor)
    if provider.org_id:
        for endpoint in provider.endpoints.all():  # a name may mean another server than when it was entered
            require_allowed(endpoint.base_url, settings.PRIVATE_PROVIDER_NETWORKS)
    return sync_and_tell(provider, actor=actor)


def sync_and_tell(provider: Provider, *, actor: User | None) -> registry.SyncResult:
    """For the operator's doors, which ask for no right: `sync` without its checks."""

    def tell(result: registry.SyncResult) -> None:
        counts = {"added": len(result.added), "updated": len(result.updated), "gone": len(result.gone)}
        record("provider.synced", org=provider.org, actor=actor, subject=provider, after=counts)

    return registry.sync_provider(provider, tell=tell)


def test_connection(provider: Provider, *, org: Org, actor: User) -> list[Diagnosis]:
    """What stands between us and each of its endpoints, if anything. Changes nothing."""
    require_manager(provider, org, actor)
    return diagnose(provider)


def is_managed(provider: Provider, org: Org, actor: User) -> bool:
    """Whether whoever may manage this org's models manages this one: its own; a superuser the shared too."""
    return provider.org_id == org.pk or (provider.org_id is None and actor.is_superuser)


def require_manager(provider: Provider, org: Org, actor: User) -> None:
    """Raises PermissionDenied as `is_managed` says. That the actor may manage models was checked before."""
    if not is_managed(provider, org, actor):
        raise PermissionDenied(SHARED)


def require_own(provider: Provider, org: Org) -> None:
    """Raises PermissionDenied for a provider that the operator shares with all."""
    if provider.org_id != org.pk:
        raise PermissionDenied(SHARED)


def _differences(provider: Provider, fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sets the fields; what an event tells of it, where of the key only that there is one."""
    changed = [name for name, value in fields.items() if getattr(provider, name) != value]
    open_names = [name for name in changed if name != "api_key"]
    before: dict[str, Any] = changes.told(provider, open_names)
    had_key = bool(provider.api_key)
    for name in changed:
        setattr(provider, name, fields[name])
    after: dict[str, Any] = changes.told(provider, open_names)
    if "api_key" in changed:
        before["hasApiKey"], after["hasApiKey"] = had_key, bool(provider.api_key)
    return before, after


def _require_places(endpoints: Sequence[Place]) -> None:
    seen: set[str] = set()
    for number, place in enumerate(endpoints):
        field = f"endpoints.{number}.baseUrl"
        if place["base_url"] in seen:
            raise InvalidBody({field: ["This address comes twice."]})
        seen.add(place["base_url"])
        try:
            require_allowed(place["base_url"], settings.PRIVATE_PROVIDER_NETWORKS)
        except AddressNotAllowed as error:
            raise InvalidBody({field: [error.message]}) from error


def _told_places(provider: Provider) -> Places:
    rows = provider.endpoints.values_list("base_url", "slots", "weight", "enabled")
    return {url: {"slots": slots, "weight": weight, "enabled": on} for url, slots, weight, on in rows}


def _by_address(endpoints: Sequence[Place], present: Places) -> Places:
    found: Places = {}
    for place in endpoints:
        url = place["base_url"]
        enabled = place.get("enabled", present.get(url, {}).get("enabled", True))
        found[url] = {"slots": place["slots"], "weight": place["weight"], "enabled": bool(enabled)}
    return found


def _write_places(provider: Provider, wanted: Places) -> None:
    """Rows of addresses that stay are kept: calls under way hold slots of them."""
    provider.endpoints.exclude(base_url__in=wanted).delete()
    for base_url, facts in wanted.items():
        Endpoint.objects.update_or_create(provider=provider, base_url=base_url, defaults=facts)
