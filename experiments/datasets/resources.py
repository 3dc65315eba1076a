"""A test set as the admin imports and exports it."""

from __future__ import annotations

import json
from typing import Any

from import_export import fields, resources, widgets
from import_export.results import Error, Result, RowResult

from evalsuite.errors import EvalsuiteError
from evalsuite.orgs.models import User
from experiments.datasets.checking import COLUMNS, Checked
from experiments.datasets.formats import Lines
from experiments.datasets.tables import as_text
from experiments.models import Experiment, ExperimentInput
from experiments.services import authoring
from experiments.services.authoring import NewInput

PROBLEMS_TOLD = 200
ROWS_SHOWN = 20  # of a preview
CELL_SHOWN = 120  # characters


class TextWidget(widgets.Widget):  # type: ignore[misc]
    """Text as it is; None stays None, which JSON can tell from an empty text."""

    def render(self, value: Any, obj: Any = None, **_: Any) -> Any:
        return value


class MetadataWidget(widgets.Widget):  # type: ignore[misc]
    def render(self, value: Any, obj: Any = None, **_: Any) -> str:
        return json.dumps(value or {}, ensure_ascii=False)


class Fault(Error):  # type: ignore[misc]
    """One line of the list of what is wrong; a file's faults have no traceback."""

    traceback = ""


class InputResource(resources.ModelResource):  # type: ignore[misc]
    """Imports a whole file or nothing of it, into one experiment."""

    key = fields.Field(attribute="key", widget=TextWidget())
    content = fields.Field(attribute="content", widget=TextWidget())
    expected = fields.Field(attribute="expected", widget=TextWidget())
    metadata = fields.Field(attribute="metadata", widget=MetadataWidget())

    class Meta:
        model = ExperimentInput
        fields = COLUMNS
        export_order = COLUMNS

    def __init__(
        self, experiment: Experiment | None = None, author: User | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.experiment, self.author = experiment, author

    def import_data(self, dataset: Lines, dry_run: bool = False, **_: Any) -> Result:
        """Faults are errors of the result; without any, one service call writes all rows."""
        if self.experiment is None or self.author is None:
            raise ValueError("An import needs an experiment and an author.")
        result = Result()
        taken = set(self.experiment.inputs.values_list("key", flat=True))
        checked = Checked(dataset, taken)
        for problem in checked.problems[:PROBLEMS_TOLD]:
            result.append_base_error(Fault(problem))
        if more := len(checked.problems[PROBLEMS_TOLD:]):
            result.append_base_error(Fault(f"and {more:,} more"))
        if checked.problems:
            return result
        result.total_rows = result.totals[RowResult.IMPORT_TYPE_NEW] = len(checked.rows)
        if dry_run:
            result.diff_headers = COLUMNS
            result.rows = [_shown(row) for row in checked.rows[:ROWS_SHOWN]]
            return result
        try:
            authoring.add_new_inputs(experiment=self.experiment, author=self.author, rows=checked.rows)
        except EvalsuiteError as error:  # another request has taken a key meanwhile
            result.append_base_error(Fault(_with_keys(error)))
        return result


def _shown(row: NewInput) -> RowResult:
    shown = RowResult()
    shown.import_type = RowResult.IMPORT_TYPE_NEW
    metadata = json.loads(row.metadata)
    cells = [row.key, row.content, row.expected or "", as_text(metadata) if metadata else ""]
    shown.diff = [cell if len(cell) <= CELL_SHOWN else f"{cell[:CELL_SHOWN]}…" for cell in cells]
    return shown


def _with_keys(error: EvalsuiteError) -> str:
    keys = error.details.get("keys", [])
    return f"{error} {', '.join(map(str, keys[:20]))}".strip()
