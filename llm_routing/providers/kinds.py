"""The kinds of servers that we speak to, by the name that the registry uses."""

from __future__ import annotations

from llm_routing.providers.base import Provider
from llm_routing.providers.ollama import OllamaProvider
from llm_routing.providers.openai_compatible import OpenAICompatibleProvider

PROVIDER_KINDS: dict[str, type[Provider]] = {
    "ollama": OllamaProvider,
    "openai_compatible": OpenAICompatibleProvider,
}
