"""The user message of a cell: plain substitution in one pass, no logic, nothing else reachable."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from evalsuite.errors import InvalidBody

PLACEHOLDER = re.compile(r"\{\{\s*(?:(input)|metadata\.([\w.-]+))\s*\}\}")


def fill(template: str, *, content: str, metadata: Mapping[str, Any], where: str = "") -> str:
    """Put `{{ input }}` and `{{ metadata.NAME }}` in. Inserted values are never expanded again.

    Anything else in braces stays as it is. Raises InvalidBody where a named value is missing:
    a prompt with a hole in it would be measured as if it were whole. `where` names the cell.
    """

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return content
        if match[2] not in metadata:
            raise InvalidBody(
                {"promptTemplate": [f"{where}There is no metadata.{match[2]} to put into the template."]}
            )
        found = metadata[match[2]]
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return PLACEHOLDER.sub(value, template)
