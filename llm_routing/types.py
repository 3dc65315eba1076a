"""The values that cross the wall between our product and language models.

All are frozen. Durations are float milliseconds by a monotonic clock or as the provider
measured them; None always means "not told", never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
JsonFormat = Literal["json"] | Mapping[str, Any]

DEFAULT_TEMPERATURE = 0.7
DEFAULT_TOP_P = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to generate. None: the provider's own default."""

    temperature: float = DEFAULT_TEMPERATURE  # 0..2
    top_p: float = DEFAULT_TOP_P  # 0..1
    max_tokens: int | None = None  # 1..32768, tokens of the answer
    seed: int | None = None
    stop: tuple[str, ...] = ()
    format: JsonFormat | None = None  # "json", or a JSON schema that the answer must fit
    num_ctx: int | None = None  # tokens of context to load the model with
    think: bool | str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One call. `num_ctx` in the parameters is filled in by routing before a provider sees it."""

    model: str
    messages: tuple[Message, ...]
    parameters: Parameters = field(default_factory=Parameters)


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, in order. Thinking is kept apart and is never scored."""

    content: str = ""
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one call went, in milliseconds."""

    total_ms: float  # our clock: request sent to last byte read
    first_token_ms: float | None = None  # our clock: request sent to first content or thinking
    provider_wait_ms: float | None = None  # in the provider's own queue
    load_ms: float | None = None  # loading the weights
    prompt_ms: float | None = None  # reading the prompt
    decode_ms: float | None = None  # writing the answer

    def tokens_per_second(self, output_tokens: int | None) -> float | None:
        """Decoding speed, or None where a part is not told."""
        if not output_tokens or not self.decode_ms:
            return None
        return output_tokens / self.decode_ms * 1000


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer.

    stop_reason: "stop", "length", "tool_calls" or what else the provider said; None: not told.
    cold_start: the call waited for the weights to load, so its latency compares with nothing.
    may_be_cut: the server cannot be told not to shorten prompts, and counted far fewer tokens than we did.
    """

    content: str
    timings: Timings
    thinking: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    stop_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cold_start: bool = False
    may_be_cut: bool = False


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model as a provider lists it."""

    name: str
    digest: str | None = None  # SHA-256 of the weights, hex; a name can move, this cannot
    size_bytes: int | None = None
    context_tokens: int | None = None  # what the model was trained for, or is served with
    capabilities: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server tells of itself to whoever asks whether it is there."""

    models: int  # how many it lists
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one call: seconds, and bytes of answer plus thinking (UTF-8)."""

    connect_s: float = 3
    first_token_s: float = 120
    idle_s: float = 30
    total_s: float = 300
    answer_bytes: int = 1_000_000
