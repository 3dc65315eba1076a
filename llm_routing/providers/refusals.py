"""From what a server says went wrong to the error of ours that it means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llm_routing.errors import (
    BadProviderRequest,
    BrokenStream,
    ModelNotFound,
    PromptTooLong,
    ProviderError,
    ProviderOverloaded,
    ProviderUnavailable,
    WrongServer,
)
from llm_routing.providers.answers import clean, count
from llm_routing.providers.exchange import LONGEST_BODY, Exchange

LONGEST_TEXT = 500  # characters of a server's error text that we pass on
_TOO_LONG = re.compile(
    r"exceed\w*\b.{0,60}\bcontext|context.{0,60}\bexceed|maximum context length|prompt (is )?too long"
    r"|input (is )?too long|(longer|greater|larger) than the .{0,20}context",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG_CODES = {"exceed_context_size_error", "context_length_exceeded"}
_TOKENS = re.compile(r"(\d[\d,]*)[ -](?:\w+ )?tokens?\b", re.IGNORECASE)
# A status of 500 for what is the caller's mistake: no retry can help.
_CALLERS_FAULT = re.compile(
    r"must be of type|invalid format|json schema|failed to parse grammar", re.IGNORECASE
)
_MISSING = re.compile(
    r"model\b.*\b(not found|does not exist)|not found.*\bmodel\b", re.IGNORECASE | re.DOTALL
)
_BUSY = re.compile(r"busy|maximum pending|too many requests|rate limit", re.IGNORECASE)


def require_ok(exchange: Exchange, *, model: str = "") -> None:
    """Raises the error that the answer's status and body mean."""
    if 200 <= exchange.status < 300:
        return
    text = exchange.text()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    said = body if isinstance(body, dict) else ""
    error = explain(said, status=exchange.status, model=model, retry_after=exchange.retry_after)
    error.answered = exchange.status
    raise error


def require_json(exchange: Exchange, missing: str) -> Mapping[str, Any]:
    """The object that a good answer holds. Raises WrongServer for a web page, and for what is no object.

    `missing` says in a few words what is not there then, as in "no list of models".
    """
    require_ok(exchange)
    if "html" in exchange.content_type:
        raise WrongServer("A web page answers there, and no API.")
    try:
        body = json.loads(exchange.text(longest=LONGEST_BODY))
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise WrongServer(f"The server answers there with {missing}.")
    return body


def explain(
    error: Any, *, status: int | None = None, model: str = "", retry_after: float | None = None
) -> ProviderError:
    """Our error for a server's. Without a status it came in the middle of an answer."""
    text, facts = innermost(error)
    if status is None:
        status = count(facts.get("StatusCode") or facts.get("code"), most=599) or 500
    if too_long := _too_long(text, facts):
        return too_long
    unknown = facts.get("code") == "model_not_found" or (status == 400 and _MISSING.search(text))
    if unknown or (status == 404 and "model" in text.lower()):
        return ModelNotFound(f"The server has no model {model}. Pull it, or load it there.", modelName=model)
    if status == 500 and _CALLERS_FAULT.search(text):
        return BadProviderRequest(f"The server refuses the request: {text}")
    return _by_status(status, text, retry_after)


def explain_in_answer(piece: Mapping[str, Any], *, model: str) -> ProviderError:
    """Our error for one that came as a part of an answer: what may pass is a broken answer."""
    error = explain(piece, model=model)
    return BrokenStream(error.message) if type(error) is ProviderError else error


def innermost(error: Any) -> tuple[str, Mapping[str, Any]]:
    """The innermost message of a server's error, and the object that it stood in.

    Servers wrap each other's errors, as objects and as JSON inside a text.
    """
    facts: Mapping[str, Any] = {}
    for _ in range(6):
        if isinstance(error, str) and "{" in error:
            try:
                error = json.loads(error[error.index("{") :])
            except (ValueError, RecursionError):
                break
        elif isinstance(error, Mapping):
            facts = {**facts, **error}
            error = error.get("error") or error.get("message") or error.get("detail") or ""
        else:
            break
    return clean(error if isinstance(error, str) else str(error)).strip()[:LONGEST_TEXT], facts


def _too_long(text: str, facts: Mapping[str, Any]) -> PromptTooLong | None:
    """PromptTooLong where that is what the error says, with the numbers where it has them."""
    known = {str(facts.get("type")), str(facts.get("code"))} & _TOO_LONG_CODES
    if not known and not _TOO_LONG.search(text):
        return None
    prompt, context = count(facts.get("n_prompt_tokens")), count(facts.get("n_ctx"))
    if prompt is None or context is None:
        numbers = [int(number.replace(",", "")) for number in _TOKENS.findall(text)[:2]]
        # Servers name the two in either order; the prompt is the one that does not fit.
        prompt = max(numbers) if len(numbers) == 2 else None
        context = min(numbers, default=None)
    return PromptTooLong(prompt_tokens=prompt, context_tokens=context)


def _by_status(status: int, text: str, retry_after: float | None) -> ProviderError:
    said = f": {text}" if text else "."
    if status == 429 or (status == 503 and _BUSY.search(text)):
        return ProviderOverloaded(f"The server is overloaded ({status}){said}", retry_after=retry_after)
    if status in (408, 425, 502, 503, 504):
        return ProviderUnavailable(f"The server cannot answer now ({status}){said}", retry_after=retry_after)
    if status >= 500:
        return ProviderError(f"The server failed ({status}){said}", retry_after=retry_after)
    if 300 <= status < 400:
        return BadProviderRequest(f"The server redirects ({status}), and is not followed: name its target.")
    if status < 200:
        return BadProviderRequest(f"The server goes on in another protocol ({status}) that nobody asked for.")
    what = {401: "refuses our key", 403: "refuses our key", 404: "knows no such route, is its address right?"}
    return BadProviderRequest(f"The server {what.get(status, 'refuses the request')} ({status}){said}")
