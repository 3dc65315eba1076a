"""What can go wrong between us and a language model, each with its own name.

`permanent` steers every retry: only trouble in transport is worth a second try.
"""

from __future__ import annotations

from typing import Any, Literal

from evalsuite.errors import EvalsuiteError
from llm_routing.types import Completion

# What stood in the way of a connection: its name is unknown, nobody listens, no route leads there, TLS
# failed, it was closed unanswered, no org may go there, or the address is none.
Obstacle = Literal["name", "refused", "route", "tls", "closed", "guard", "address"]


class ProviderError(EvalsuiteError):
    """The provider answered, but not with something we can use."""

    code, status = "PROVIDER_ERROR", 502
    permanent: bool = False
    not_sent: bool = False  # it is certain that no model has seen the request
    obstacle: Obstacle | None = None
    answered: int | None = None  # the status, where the server answered with one that is no success

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after  # seconds that the server asked us to wait


class ModelNotFound(ProviderError):
    """Neither our registry nor the provider knows this model."""

    code, status, permanent = "MODEL_NOT_FOUND", 404, True


class PromptTooLong(ProviderError):
    """The prompt does not fit the model's context. Token counts are None where the server gave none."""

    code, status, permanent = "PROMPT_TOO_LONG", 400, True

    def __init__(self, *, prompt_tokens: int | None = None, context_tokens: int | None = None) -> None:
        if prompt_tokens and context_tokens:
            message = f"too long: {prompt_tokens:,} of {context_tokens:,} tokens"
        elif context_tokens:
            message = f"too long: the prompt does not fit the context of {context_tokens:,} tokens"
        else:
            message = "too long: the prompt does not fit the model's context"
        super().__init__(message, promptTokens=prompt_tokens, contextTokens=context_tokens)


class BadProviderRequest(ProviderError):
    """The provider refused the request itself (a parameter, a missing capability, a key)."""

    permanent = True


class WrongServer(ProviderError):
    """Somebody answers at that address, but not with the API that we expect there."""

    permanent = True


class ProviderUnavailable(ProviderError):
    """No connection, or the server says that it cannot serve now (502, 503)."""

    code, status = "PROVIDER_UNAVAILABLE", 503


class ProviderOverloaded(ProviderUnavailable):
    """429, a full queue, or no free slot within the wait limit."""

    not_sent = True


class ProviderTimeout(ProviderError):
    """One of the time limits passed. `phase` is connect, first_token, idle or total.

    An answer that took too long in all would do so again: only the other phases are worth a retry.
    """

    code, status = "PROVIDER_TIMEOUT", 504

    def __init__(self, message: str, *, phase: str, **details: Any) -> None:
        super().__init__(message, phase=phase, **details)
        self.phase = phase
        self.permanent = phase == "total"
        self.not_sent = phase == "connect"


class BrokenStream(ProviderError):
    """The answer stopped in the middle: cut connection, no end mark, or lines that are no JSON."""


class AnswerTooLarge(ProviderError):
    """The model wrote more than we are willing to hold."""

    permanent = True


class InvalidAnswer(ProviderError):
    """JSON was asked for and the complete answer is no valid JSON, or does not fit the schema.

    `completion` is that answer: its tokens were used all the same.
    """

    permanent = True

    def __init__(self, message: str, *, completion: Completion | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.completion = completion


class Cancelled(ProviderError):
    """We closed the request ourselves. Never shown as a failure of the provider."""

    permanent = True
