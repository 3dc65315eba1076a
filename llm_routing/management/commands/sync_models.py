"""`manage.py sync_models`: ask the providers which models they have."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llm_routing import provider_services
from llm_routing.errors import ProviderError
from llm_routing.models import Provider


class Command(BaseCommand):
    help = "Brings the registry in step with what the providers list. One that fails stops no other."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--provider", metavar="SLUG", help="only providers of this slug")
        parser.add_argument("--org", metavar="SLUG", help="only providers of this organisation")

    def handle(self, *args: Any, **options: Any) -> None:
        providers = Provider.objects.filter(enabled=True).select_related("org")
        if options["provider"]:
            providers = providers.filter(slug=options["provider"])
        if options["org"]:
            providers = providers.filter(org__slug=options["org"])
        if not (chosen := list(providers)):
            raise CommandError("There is no such provider that is switched on.")
        failed = [provider.slug for provider in chosen if not self._sync(provider)]
        if failed:
            raise CommandError(f"Not asked: {', '.join(failed)}.")

    def _sync(self, provider: Provider) -> bool:
        whose = provider.org.slug if provider.org else "shared"
        try:
            result = provider_services.sync_and_tell(provider, actor=None)
        except ProviderError as error:
            self.stderr.write(f"{provider.slug} ({whose}): {error.message}")
            return False
        counts = {"added": len(result.added), "updated": len(result.updated), "gone": len(result.gone)}
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        self.stdout.write(f"{provider.slug} ({whose}): {told}")
        return True
