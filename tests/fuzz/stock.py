"""An organisation with one of everything, for the ids of addresses and bodies; made anew when used up."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from django.db import transaction
from rest_framework_simplejwt.tokens import RefreshToken

from evalsuite.orgs.models import Membership, User
from tests import factories
from tests.audit.world import build

DAY_S = 86_400
_numbers = count(1)


class Stock:
    """`world` holds the ids under the names that they have in addresses.

    The organisation of before is left alone by its owner, so that one run meets one organisation only.
    """

    def __init__(self, provider_url: str) -> None:
        self.provider_url = provider_url
        self.owner = factories.make_user(f"owner{next(_numbers)}")
        self.renew()

    @transaction.atomic
    def renew(self) -> None:
        for user in User.objects.filter(username__in=("bob", "newcomer")):
            user.username = f"{user.username}{next(_numbers)}"
            user.save()
        Membership.objects.filter(user=self.owner).delete()
        org = factories.make_org()
        Membership.objects.create(org=org, user=self.owner, role="owner")
        self.world = build(org, self.owner, self.provider_url)
        factories.set_default_model(org, self.world.model)
        self.used_up = self.touched = False

    def token(self) -> str:
        """An access token that lasts as long as any run of ours."""
        token = RefreshToken.for_user(self.owner).access_token
        token.set_exp(lifetime=timedelta(seconds=DAY_S))
        return str(token)

    def id_of(self, name: str) -> str | None:
        """The id for a word of an address, such as `run_id`; None for what is no id, such as `kind`."""
        value: Any = vars(self.world).get(name)
        return None if value is None or name == "version" else str(value)
