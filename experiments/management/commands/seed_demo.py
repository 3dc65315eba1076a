from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from experiments import demo


class Command(BaseCommand):
    help = (
        "Make the Demo organisation, its administrator and the sample experiment, where they are not there."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        password = demo.seed()
        if password:
            self.stdout.write(f"Made the user {demo.USERNAME} with the password {password}")
            self.stdout.write("It is shown this once; `manage.py changepassword admin` sets a new one.")
        else:
            self.stdout.write("The user and the organisation were there before; nothing was changed.")
