"""From what a request says to what is really sent: explicit beats profile beats default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evalsuite.orgs.models import Org
from llm_routing import registry
from llm_routing.models import ChatProfile, RegisteredModel
from llm_routing.types import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, Message, Parameters

SMALLEST_USUAL_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about a call but its user message."""

    model: RegisteredModel
    parameters: Parameters
    system_prompt: str  # empty: none is sent

    def messages(self, prompt: str) -> tuple[Message, ...]:
        user = Message("user", prompt)
        return (Message("system", self.system_prompt), user) if self.system_prompt else (user,)


def resolve(
    org: Org,
    *,
    profile: ChatProfile | None,
    explicit: Mapping[str, Any],
    system_prompt: str | None,
    find: Callable[[Org, str | None, str | None], RegisteredModel] = registry.resolve,
) -> Settings:
    """Fill in, field by field, what `explicit` leaves open; None and a missing key both leave it open.

    `explicit` has the wire names of a variant's config: modelName, temperature, topP, maxTokens, ...
    `find` looks the model up: whoever resolves for many at once may give one that remembers.
    Raises ModelNotFound.
    """

    def pick(name: str, of_profile: Any = None, default: Any = None) -> Any:
        for value in (explicit.get(name), of_profile):
            if value is not None:
                return value
        return default

    model = find(
        org,
        pick("modelProvider", profile and profile.model_provider),
        pick("modelName", profile and profile.model_name),
    )
    stop = pick("stop", default=())
    parameters = Parameters(
        temperature=pick("temperature", profile and profile.temperature, DEFAULT_TEMPERATURE),
        top_p=pick("topP", profile and profile.top_p, DEFAULT_TOP_P),
        max_tokens=pick("maxTokens", profile and profile.max_tokens),
        seed=pick("seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        format=pick("format"),
        num_ctx=pick("numCtx", default=context_for(model)),
        think=pick("think"),
        tools=tuple(pick("tools", default=())),
    )
    return Settings(model, parameters, system_prompt or (profile.system_prompt if profile else ""))


def context_for(model: RegisteredModel) -> int:
    """The context to load a model with: the same for all its calls, since another one reloads it."""
    if model.num_ctx:
        return model.num_ctx
    return min(SMALLEST_USUAL_CONTEXT, model.context_tokens or SMALLEST_USUAL_CONTEXT)


def parameters_to_json(parameters: Parameters) -> dict[str, Any]:
    """As stored with a session or a cell."""
    return asdict(parameters)


def parameters_from_json(stored: Mapping[str, Any]) -> Parameters:
    values = dict(stored)
    return Parameters(**{**values, "stop": tuple(values["stop"]), "tools": tuple(values["tools"])})
