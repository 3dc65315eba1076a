"""`python -m tests.chaos.seed`: takes wishes as JSON, fills an installation's database, and tells the ids.

A process of its own, with the installation's settings: the harness itself never touches Django.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

SLUGS = {"ollama": "ollama", "openai_compatible": "open"}


def main(wanted: dict[str, Any]) -> dict[str, Any]:
    """Migrate, and make an org with an owner and a model on `url`."""
    django.setup()
    from django.core.management import call_command

    from evalsuite.orgs.models import Membership, Org, User
    from experiments.demo import ORG_SLUG
    from llm_routing.models import Provider
    from tests import factories

    call_command("migrate", interactive=False, verbosity=0)
    # The slug of the sample's org: a serve process that finds it makes no sample.
    org = Org.objects.create(name="Chaos", slug=ORG_SLUG)
    user = User(username=wanted["name"])
    user.set_password(wanted["password"])
    user.save()
    Membership.objects.create(org=org, user=user, role="owner")
    models = [
        factories.make_model(
            wanted["model"], base_url=wanted["url"], kind=kind, slug=SLUGS[kind], slots=wanted["slots"]
        )
        for kind in wanted.get("kinds", ["ollama"])
    ]
    for name in wanted.get("also", []):  # further models at the same server
        factories.make_model(name, base_url=wanted["url"])
    Provider.objects.update(**wanted.get("limits", {}))
    factories.set_default_model(org, models[0])
    return {"org": str(org.pk), "models": [str(model.pk) for model in models]}


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
