"""What every provider looks like from routing's side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from llm_routing.providers.calls import CallHandle
from llm_routing.providers.transport import Transport
from llm_routing.types import Completion, CompletionRequest, Delta, Limits, ModelInfo, Probe


class Provider(ABC):
    """Speaks one server's dialect. Built with a `Transport` that is bound to one base URL.

    A provider holds no state between calls and may be used by many threads at once.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @abstractmethod
    def stream(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> Iterator[Delta | Completion]:
        """Yield deltas as the model writes and, last and exactly once, the whole `Completion`.

        Closing the iterator, or `handle.cancel()` from any other thread, ends the request
        at the provider at once, also while nothing has been answered yet.
        Raises the errors of `llm_routing.errors` only; Cancelled after our own cancel.
        """

    @abstractmethod
    def list_models(self, *, limits: Limits) -> list[ModelInfo]:
        """The models that this server can run now."""

    @abstractmethod
    def probe(self, *, limits: Limits) -> Probe:
        """Whether it is there and speaks this dialect. Raises WrongServer where somebody else answers."""

    def warm_up(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> bool:
        """Have the server load what this request needs, where it loads on demand. Raises as `stream`.

        True where it had to, and we waited for it.
        """
        return False

    def complete(
        self, request: CompletionRequest, *, limits: Limits, handle: CallHandle | None = None
    ) -> Completion:
        """The whole answer. Streams upstream all the same: only then are time-outs and cancelling exact."""
        for event in self.stream(request, limits=limits, handle=handle):
            if isinstance(event, Completion):
                return event
        raise AssertionError("a provider's stream ended without a Completion")
