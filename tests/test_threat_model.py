"""The page of promises names tests that exist."""

from __future__ import annotations

import ast
import re

from evalsuite.env import ROOT

PAGE = (ROOT / "docs/threat-model.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def functions_of(path):
    return {
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_named_test_exists():
    assert len(NAMED) > 30
    missing = [(path, name) for path, name in NAMED if not (ROOT / path).is_file()]
    missing += [
        (path, name)
        for path, name in NAMED
        if (path, name) not in missing and name not in functions_of(path) | {""}
    ]
    assert missing == []


def test_every_promise_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| ---")][1:]
    assert len(rows) > 12
    assert [row for row in rows if "`tests/" not in row.split("|")[2]] == []
