"""A link that opens in the playground what was sent to a model elsewhere.

    {% load playground %}
    {% open_in_playground run %}

All of it is in the address after `#`, which browsers keep to themselves: no server and no log is told of it,
and the playground need not know what the link is about. static/js/playground/begin.js reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from django import template
from django.template import Context
from django.urls import reverse

register = template.Library()

LONGEST = 200_000  # characters of the address; browsers take more, history and bookmarks suffer
KEYS = {"temperature": "temperature", "top_p": "topP", "max_tokens": "maxTokens", "seed": "seed"}
KEYS |= {name: name for name in ("stop", "format", "think")}


class Sent(Protocol):
    """What can be opened: a cell, or anything else that tells what was sent to which model."""

    model_provider: str
    model_name: str
    messages: Sequence[Mapping[str, Any]]  # role and content
    parameters: Mapping[str, Any]  # as llm_routing.resolution.parameters_to_json has them


@register.inclusion_tag("playground/partials/open_link.html", takes_context=True)
def open_in_playground(context: Context, sent: Sent) -> dict[str, Any]:
    """Nothing for those who may not use the playground, and where it would be too long for an address."""
    request = context["request"]
    address = f"{reverse('console:playground', args=[request.org.pk])}#open={quote(_values(sent))}"
    may = "org:playground:use" in request.permissions
    return {"address": address if may and len(address) <= LONGEST else None}


def _values(sent: Sent) -> str:
    said = {message["role"]: message["content"] for message in sent.messages}
    column = {name: sent.parameters.get(key) for key, name in KEYS.items()}
    column |= {"modelProvider": sent.model_provider, "modelName": sent.model_name}
    column["systemPrompt"] = said.get("system")
    told = {name: value for name, value in column.items() if value not in (None, [])}
    return json.dumps({"prompt": said.get("user", ""), "columns": [told]})
