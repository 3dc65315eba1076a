"""The page of figures, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from evalsuite.metrics import page
from evalsuite.metrics.families import FAMILIES


def read() -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Ours alone: after a thousand tests the web server's own are thousands of lines."""
    lines = page.text().decode().splitlines(keepends=True)
    others = ("django_", "# HELP django_", "# TYPE django_")
    return parsed("".join(line for line in lines if not line.startswith(others)))


def parsed(text: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """By sample name (`..._sum`, `..._bucket`), labels and value."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(found: dict[str, list[tuple[Mapping[str, str], float]]], name: str, **labels: str) -> float:
    """The sum over all series with these labels; a name that no metric of ours has is a KeyError."""
    if name not in found:
        assert FAMILIES[name]
    return sum(value for has, value in found.get(name, ()) if labels.items() <= has.items())
