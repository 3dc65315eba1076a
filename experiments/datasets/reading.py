"""A test set on its way in: what came, as which columns it is taken, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO, Protocol

from evalsuite.errors import InvalidBody
from experiments.datasets import mapping
from experiments.datasets.checking import PREFIX, Checked
from experiments.datasets.formats import CSV, XLSX, JSONLines, Lines, PastedTable
from experiments.models import Experiment
from experiments.services import authoring
from experiments.services.authoring import NewInput


class Reader(Protocol):
    def create_dataset(self, in_stream: Any, /) -> Lines: ...


READERS: Mapping[str, type[Reader]] = {
    "csv": CSV,
    "tsv": PastedTable,
    "txt": PastedTable,
    "jsonl": JSONLines,
    "ndjson": JSONLines,
    "xlsx": XLSX,
}


def kind_of_file(name: str) -> str:
    """One of READERS, by the ending of the file's name. Raises InvalidBody."""
    kind = PurePath(name).suffix.removeprefix(".").lower()
    if kind not in READERS:
        raise InvalidBody({"file": [f"Name it by what it is: {', '.join(f'.{one}' for one in READERS)}."]})
    return kind


def kind_of_text(text: str) -> str:
    return "jsonl" if text.lstrip().startswith("{") else "tsv"


@dataclass(frozen=True, slots=True)
class Column:
    header: str
    target: str  # as `mapping` has it
    example: str

    @property
    def choice(self) -> str:
        """The target without the name of a value of the metadata."""
        return PREFIX if self.target.startswith(PREFIX) else self.target

    @property
    def name(self) -> str:
        """Under which its values stand in the metadata, should it go there."""
        named = self.target if self.target.startswith(PREFIX) else self.header
        return named.removeprefix(PREFIX)


@dataclass(frozen=True, slots=True)
class Reading:
    """`rows` are the inputs that would be written; none is where there is any problem."""

    columns: list[Column]
    rows: list[NewInput]
    problems: list[str]


def read(
    experiment: Experiment, data: bytes | BinaryIO, *, kind: str, targets: Sequence[str] | None = None
) -> Reading:
    """Everything that is wrong with a file, or its inputs. Writes nothing.

    `targets` say what each column becomes; None: as guessed by its name. Raises InvalidBody for a file
    that cannot be read at all.
    """
    lines = READERS[kind]().create_dataset(data)
    headers = list(lines.headers or [])
    if targets is None or len(targets) != len(headers):
        targets = mapping.guessed(headers)
    examples = lines.first() or [""] * len(headers)
    columns = [
        Column(header, target, "" if example is None else str(example))
        for header, target, example in zip(headers, targets, examples, strict=True)
    ]
    taken = set(experiment.inputs.values_list("key", flat=True).iterator())
    mapping.rename(lines, targets, first_number=authoring.next_number(experiment))
    checked = Checked(lines, taken)
    return Reading(columns, [] if checked.problems else checked.rows, checked.problems)
