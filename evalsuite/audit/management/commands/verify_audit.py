"""Is the audit log what was written?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from evalsuite.audit import verifying


class Command(BaseCommand):
    help = "Check the audit log against its chain of hashes. Exit status 1 at the first broken place."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--expect",
            default="",
            metavar="NUMBER:HASH",
            help="A head that this command printed before: the chain must hold it still.",
        )

    def handle(self, *args: Any, expect: str, **options: Any) -> None:
        try:
            report = verifying.verify(expect)
        except verifying.Broken as broken:
            raise CommandError(f"The audit log is broken: {broken}.") from broken
        self.stdout.write(f"{report.events:,} events in {report.seals:,} seals: nothing was changed.")
        if report.head:
            self.stdout.write(f"Head: {report.head}")
        if report.pending:
            since = (
                f", the oldest since {report.oldest_pending:%Y-%m-%d %H:%M:%S} UTC"
                if report.oldest_pending
                else ""
            )
            self.stdout.write(f"{report.pending:,} events are not sealed yet{since}.")
