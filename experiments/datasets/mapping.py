"""Which column of a file becomes what of an input: guessed by name, decided by a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.datasets.checking import PREFIX
from experiments.datasets.formats import Lines

LEFT_OUT = ""
NAMES: Mapping[str, tuple[str, ...]] = {
    "key": ("key", "id", "name", "case", "inputkey", "case_id"),
    "content": ("content", "input", "question", "prompt", "text", "query", "message"),
    "expected": ("expected", "answer", "output", "reference", "target", "label", "ideal", "gold"),
    "metadata": ("metadata", "meta"),
}


def guessed(headers: Sequence[str]) -> list[str]:
    """For each column `key`, `content`, `expected`, `metadata` (each once) or `metadata.NAME`.

    Names that are known beat their order in the file; without any of them a lone column is the content.
    """
    found: dict[int, str] = {}
    for target, names in NAMES.items():
        for name in names:
            at = next((n for n, header in enumerate(headers) if header.strip().lower() == name), None)
            if at is not None and at not in found:
                found[at] = target
                break
    if "content" not in found.values():
        free = [number for number in range(len(headers)) if number not in found]
        if len(free) == 1 or (free and not found):
            found[free[0]] = "content"
    return [found.get(number, _as_metadata(header)) for number, header in enumerate(headers)]


def _as_metadata(header: str) -> str:
    name = header.strip().removeprefix(PREFIX)
    return f"{PREFIX}{name}" if name else LEFT_OUT


def rename(lines: Lines, targets: Sequence[str], *, first_number: int) -> None:
    """The columns get the targets' names; those that are left out go.

    Where no column is the key, rows are numbered: case_N from `first_number` on.
    """
    kept = [number for number, target in enumerate(targets) if target != LEFT_OUT]
    names = [targets[number] for number in kept]
    if kept and "key" not in targets:
        lines.reshape(
            ["key", *names],
            lambda count, row: (f"case_{first_number + count}", *(row[column] for column in kept)),
        )
    elif len(kept) < len(targets):
        lines.reshape(names, lambda _count, row: tuple(row[column] for column in kept))
    else:
        lines.headers = names
