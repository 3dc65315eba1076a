"""What the views of experiments share: who may, and how rows are changed and removed."""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils.functional import cached_property

from evalsuite.models import Row
from evalsuite.orgs.permissions import Permission
from evalsuite.orgs.resources import Detail, Paged, Resource
from experiments.models import Experiment
from experiments.services import changes

READ: Permission = "org:experiments:read"
WRITE: Permission = "org:experiments:write"
RATE: Permission = "org:experiments:rate"


class ExperimentsView(Resource):
    required_permission: ClassVar[Permission | dict[str, Permission]] = {
        "GET": READ,
        "POST": WRITE,
        "PATCH": WRITE,
        "DELETE": WRITE,
    }

    @cached_property
    def experiment(self) -> Experiment:
        """The one in the URL. Raises NotFound."""
        found: Experiment = Experiment.objects.for_org(self.org).find(self.kwargs["experiment_id"])
        found.org = self.org
        return found


class ListView(ExperimentsView, Paged):
    """`get_queryset` page by page, newest first."""


class DetailView(ExperimentsView, Detail):
    """Read, change and remove the row that `find` gives."""

    def change(self, row: Any, given: dict[str, Any]) -> None:
        changes.update(row, org=self.org, actor=self.user, changes=given)

    def remove(self, row: Row) -> None:
        name = next((name for name in ("key", "name") if hasattr(row, name)), "id")
        facts = changes.told(row, [name])
        changes.delete(row, org=self.org, actor=self.user, facts=facts)
