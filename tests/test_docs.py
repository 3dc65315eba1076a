"""What the documents promise: every setting is told, every file and make target that they name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
READERS = {"str", "bool", "int", "float", "list", "_secret"}


def settings_read() -> set[str]:
    """Names of the variables that settings.py asks the environment for."""
    calls = (
        node
        for node in ast.walk(ast.parse((ROOT / "evalsuite/settings.py").read_text()))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
    )
    return {
        call.args[0].value
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in READERS
        and re.fullmatch(r"[A-Z][A-Z_]+", str(call.args[0].value))
    }


def test_readme_tells_of_every_variable_and_of_no_other():
    table = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert table == settings_read()
    assert len(table) > 20


def test_env_example_has_every_variable_and_no_other():
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) == settings_read()


def test_env_example_gives_no_secret_away():
    example = (ROOT / ".env.example").read_text()
    for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "FIELD_ENCRYPTION_KEYS"):
        assert f"\n{name}=\n" in example


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    # Pictures are made by `make screenshots`, from a running product.
    missing = [
        link for link in links if not (document.parent / link).exists() and not link.startswith("docs/img/")
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_and_commands_exist(document):
    text = document.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"manage\.py ([a-z_]+)", text)) <= set(get_commands())


@pytest.mark.parametrize("word", ["experiments", "playground", "llm_routing", "evalsuite"])
def test_image_holds_every_room(word):
    assert f"!{word}\n" in (ROOT / ".dockerignore").read_text()
