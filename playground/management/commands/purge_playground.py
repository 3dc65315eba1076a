"""The same as the workers do every hour, by hand or from cron."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from playground import retention


class Command(BaseCommand):
    help = "Remove playground sessions in which nothing was said for PLAYGROUND_RETENTION_DAYS."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, help="another number of days; 0 removes nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        days: int | None = options["days"]
        if days is not None and days < 0:
            raise CommandError("--days must be 0 or more.")
        self.stdout.write(f"{retention.purge(days)} sessions removed")
