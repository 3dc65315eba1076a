"""The bench's prompt with its `{{ name }}`: filled in by one pass of plain substitution."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evalsuite.errors import InvalidBody

# static/js/playground/variables.js makes its fields of the same names.
PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}")


def names_in(prompt: str) -> list[str]:
    """The variables of a prompt, each once, in the order of their first use."""
    return list(dict.fromkeys(PLACEHOLDER.findall(prompt)))


def fill(prompt: str, variables: Mapping[str, str], *, longest: int) -> str:
    """Put the values in. Inserted values are never expanded again; other braces stay as they are.

    Raises InvalidBody where a value is missing or has no place, or the result is blank or too long.
    """
    names = names_in(prompt)
    missing = [name for name in names if name not in variables]
    strange = [name for name in variables if name not in names]
    problems = {f"variables.{name}": ["This variable has no value."] for name in missing}
    problems |= {f"variables.{name}": ["The prompt has no such variable."] for name in strange}
    if problems:
        raise InvalidBody(problems)
    filled = PLACEHOLDER.sub(lambda match: variables[match[1]], prompt)
    if len(filled) > longest:
        raise InvalidBody({"prompt": [f"Filled in, it has more than {longest:,} characters."]})
    if not filled.strip():
        raise InvalidBody({"prompt": ["Filled in, it is blank."]})
    return filled
