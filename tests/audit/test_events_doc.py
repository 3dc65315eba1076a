"""Every event that the code names has its line in docs/audit.md, and no line is about another."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

from tests.audit import test_every_admin_change as in_admin
from tests.audit.routes import ROUTES

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("evalsuite", "playground", "experiments", "llm_routing")
FIRST = "account|admin|apikey|chat_profile|experiment|model|org|playground|provider"
NAME = re.compile(rf"(?:{FIRST})(?:\.[a-z_*]+)+")
# Texts of this form that name something else.
OTHERS = {"playground.purge", "provider.is_toy", "provider.slug"}


def told():
    table = (ROOT / "docs/audit.md").read_text().partition("## Events")[2]
    return {
        name
        for line in re.findall(r"^\| (`[^|]+) \|", table, re.M)
        for name in re.findall(r"`([^`]+)`", line)
    }


def in_code():
    """Names, and with `*` those that are put together of parts."""
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            if "migrations" not in file.parts:
                for node in ast.walk(ast.parse(file.read_text())):
                    if NAME.fullmatch(text := _text(node)) and text not in OTHERS:
                        yield text


def _text(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def made():
    """By the routes and by the admin, as the tests of them show."""
    for how in ROUTES.values():
        yield from (*how.events, *how.refused)
    yield from in_admin.REMOVAL.values()
    for events, *_ in in_admin.ACTIONS.values():
        yield from events


def matches(one, other):
    return one == other or fnmatchcase(one, other) or fnmatchcase(other, one)


def test_every_event_in_the_code_has_its_line():
    names = set(in_code())
    assert len(names) > 35
    assert {name for name in names if not any(matches(name, line) for line in told())} == set()


def test_every_event_that_is_made_has_its_line():
    assert set(made()) - told() == set()


def test_no_line_is_about_an_event_that_there_is_not():
    names = set(in_code())
    assert {line for line in told() if not any(matches(line, name) for name in names)} == set()
