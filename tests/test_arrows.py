"""Which way the arrows run (docs/architecture.md), read from the imports of every module.

Imports inside functions count. Those for type checkers alone do not: they exist in no process.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("evalsuite", "llm_routing", "playground", "experiments")
# The roof may name everything; nobody but the roof imports it.
ROOF = {f"evalsuite.{name}" for name in ("settings", "urls", "asgi", "celery", "schema", "apps")}
DOORS = {"api", "views", "admin", "management", "tasks", "urls", "worker", "serving"}


@dataclass(frozen=True, slots=True)
class Arrow:
    """Module `source` imports `target`; `line` says where."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


class ImportCollector(ast.NodeVisitor):
    def __init__(self, module: str, *, is_package: bool) -> None:
        self.module = module
        self.package = module if is_package else module.rpartition(".")[0]
        self.arrows: list[Arrow] = []

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.dump(node.test):
            self.generic_visit(node)
            return
        for otherwise in node.orelse:
            self.visit(otherwise)

    def visit_Import(self, node: ast.Import) -> None:
        self.arrows += [Arrow(self.module, alias.name, node.lineno) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parents = self.package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
        # `from evalsuite import urls` names a module, `from evalsuite.ids import new_id` does not.
        modules = {
            f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base for alias in node.names
        }
        self.arrows += [Arrow(self.module, module, node.lineno) for module in sorted(modules)]


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def arrows_of(source: str, module: str, *, is_package: bool = False) -> list[Arrow]:
    collector = ImportCollector(module, is_package=is_package)
    collector.visit(ast.parse(source))
    return collector.arrows


def modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


@cache
def all_arrows() -> tuple[Arrow, ...]:
    return tuple(
        arrow
        for module, path in modules()
        for arrow in arrows_of(path.read_text(), module, is_package=path.name == "__init__.py")
    )


def within(module: str, *rooms: str) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def is_door(module: str) -> bool:
    """Views, API, tasks, admin, commands: `experiments.api.runs`, `playground.sessions_api`."""
    return any(part in DOORS or part.endswith(("_api", "_views")) for part in module.split(".")[1:])


def is_service(module: str) -> bool:
    return bool({"services", "models", "querysets"} & set(module.split("."))) and not is_door(module)


def is_migration(module: str) -> bool:
    return ".migrations" in module


RULES = {
    "playground and experiments do not know each other": lambda a: (
        (within(a.source, "playground") and within(a.target, "experiments"))
        or (within(a.source, "experiments") and within(a.target, "playground"))
    ),
    "llm_routing knows nothing of who uses it": lambda a: (
        within(a.source, "llm_routing") and within(a.target, "playground", "experiments")
    ),
    "the ground imports no app above it": lambda a: (
        within(a.source, "evalsuite")
        and a.source not in ROOF
        and within(a.target, "llm_routing", "playground", "experiments")
    ),
    "the errors import nothing of ours": lambda a: (
        a.source == "evalsuite.errors" and within(a.target, *ROOMS)
    ),
    "nobody imports the roof": lambda a: a.target in ROOF and a.source not in ROOF,
    "providers know no database, no settings and no org": lambda a: (
        within(a.source, "llm_routing.providers", "llm_routing.types")
        and (
            within(a.target, "django", "evalsuite", "llm_routing.models", "rest_framework")
            and a.target != "evalsuite.errors"
        )
    ),
    "the embedded model runs without Django": lambda a: (
        a.source == "llm_routing.embedded" and within(a.target, "django", "evalsuite")
    ),
    "evaluators score without a database": lambda a: (
        within(a.source, "experiments.evaluators")
        and within(a.target, "django", "experiments.models", "experiments.services")
    ),
    "services and models lean on no door": lambda a: (
        is_service(a.source) and within(a.target, *ROOMS) and is_door(a.target)
    ),
    "audit and quotas know of orgs their rows alone": lambda a: (
        within(a.source, "evalsuite.audit", "evalsuite.quotas")
        and not is_door(a.source)
        and within(a.target, "evalsuite.orgs")
        and a.target not in {"evalsuite.orgs.models", "evalsuite.orgs.querysets"}
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_arrow(rule):
    broken = [str(arrow) for arrow in all_arrows() if not is_migration(arrow.source) and RULES[rule](arrow)]
    assert broken == []


def test_every_room_was_read():
    assert {arrow.source.split(".")[0] for arrow in all_arrows()} == set(ROOMS)
    assert len(all_arrows()) > 200


SAMPLE = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from playground.models import PlaygroundSession
else:
    import json
from . import sibling
from evalsuite import urls, ids
def later():
    from experiments.models import Batch
"""


def test_imports_are_read_inside_functions_but_not_for_type_checkers():
    found = {arrow.target for arrow in arrows_of(SAMPLE, "llm_routing.registry")}
    assert found == {"typing", "json", "llm_routing", "evalsuite.urls", "evalsuite.ids", "experiments.models"}
