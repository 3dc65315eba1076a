"""Several columns at once, each asked as often as the user likes: one stream of events for all of them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings

from evalsuite.errors import EvalsuiteError, InvalidBody
from evalsuite.orgs.models import Org, User
from llm_routing import resolution
from llm_routing.errors import InvalidAnswer
from llm_routing.models import ChatProfile
from llm_routing.providers.calls import CallHandle
from llm_routing.types import Completion, Delta
from playground import conversations, prompting, services
from playground.live import MOST_COLUMNS
from playground.models import Comparison, PlaygroundSession

log = logging.getLogger(__name__)

MOST_REPEATS = 20
LONGEST_PROMPT = 1_000_000  # characters
LANES = MOST_COLUMNS  # calls of one comparison in the air, or in line, at a time


@dataclass(frozen=True, slots=True)
class Column:
    """What one column asks: by settings of its own, or further in a session that there is already."""

    system_prompt: str | None = None
    chat_profile: ChatProfile | None = None
    explicit: dict[str, Any] | None = None
    session: PlaygroundSession | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """Column and repeat, both from 0."""

    column: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Opened:
    spot: Spot
    session: PlaygroundSession


@dataclass(frozen=True, slots=True)
class Wrote:
    spot: Spot
    delta: Delta


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer. `problem` says why it is not in the format that was asked for."""

    spot: Spot
    session: PlaygroundSession
    message_id: UUID
    completion: Completion
    format_asked: bool
    problem: str | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """By the provider's own clock, or where it gives none by ours, from the first token on."""
        timings, tokens = self.completion.timings, self.completion.output_tokens
        if (told := timings.tokens_per_second(tokens)) is not None:
            return told
        writing_ms = timings.total_ms - (timings.first_token_ms or timings.total_ms)
        return (tokens - 1) / writing_ms * 1000 if tokens and tokens > 1 and writing_ms > 0 else None


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, or a part of one. `session` is None where the call was refused before anything was kept."""

    spot: Spot
    session: PlaygroundSession | None
    code: str
    details: dict[str, Any]


Event = Opened | Wrote | Answered | Failed


class Calls:
    """The calls of one comparison: in lanes, first repeats first, each ended from any thread."""

    def __init__(
        self, comparison: Comparison, *, user: User, prompt: str, columns: Sequence[Column], repeats: int
    ) -> None:
        self.comparison = comparison
        self._user = user
        self._prompt = prompt
        self._columns = columns
        self._lock = threading.Lock()
        self._waiting = deque(
            Spot(column, repeat) for repeat in range(repeats) for column in range(len(columns))
        )
        self._handles: dict[Spot, CallHandle] = {}
        self._stopped: set[int] = set()
        # Its own calls stand in line before each other: each may wait as long as all of them together.
        self._lanes = min(LANES, len(self._waiting))
        self._wait_s = settings.SLOT_WAIT * self._lanes

    def lanes(self) -> list[Iterator[Event]]:
        """Blocking iterators, each for a thread of its own."""
        return [self._lane() for _ in range(self._lanes)]

    def stop(self, columns: Collection[int]) -> None:
        with self._lock:
            self._stopped.update(columns)
            handles = [handle for spot, handle in self._handles.items() if spot.column in self._stopped]
        for handle in handles:
            handle.cancel()

    def cancel(self) -> None:
        """Nobody listens any more."""
        with self._lock:
            self._waiting.clear()
        self.stop(range(len(self._columns)))

    def _lane(self) -> Iterator[Event]:
        while (taken := self._next()) is not None:
            spot, handle = taken
            try:
                yield from self._call(spot, handle)
            finally:
                with self._lock:
                    del self._handles[spot]

    def _next(self) -> tuple[Spot, CallHandle] | None:
        with self._lock:
            if not self._waiting:
                return None
            spot = self._waiting.popleft()
            handle = self._handles[spot] = CallHandle()
            return spot, handle

    def _call(self, spot: Spot, handle: CallHandle) -> Iterator[Event]:
        session: PlaygroundSession | None = None
        try:
            if spot.column in self._stopped:
                yield _stopped(spot, None)
                return
            trial = self._open(spot)
            session = trial.session
            yield Opened(spot, session)
            yield from self._answer(spot, trial, handle)
        except EvalsuiteError as error:
            yield Failed(spot, session, error.code, error.details)
        except Exception:
            # The status is sent already: the client is told here, the log has the reason.
            log.exception("a call of a comparison broke")
            yield Failed(spot, session, "INTERNAL_ERROR", {"message": "Something broke on our side."})

    def _answer(self, spot: Spot, trial: services.Trial, handle: CallHandle) -> Iterator[Event]:
        def answered(completion: Completion, problem: str | None = None) -> Answered:
            asked = trial.request.parameters.format is not None
            return Answered(spot, trial.session, trial.call.attempt, completion, asked, problem)

        try:
            for event in services.stream(trial, handle=handle, wait_s=self._wait_s):
                if isinstance(event, services.Answer):
                    yield answered(event.completion)
                    return
                yield Wrote(spot, event)
        except InvalidAnswer as error:
            if error.completion is None:
                raise
            yield answered(error.completion, error.message)
        else:
            yield _stopped(spot, trial.session)

    def _open(self, spot: Spot) -> services.Trial:
        column = self._columns[spot.column]
        if column.session:
            return conversations.open_turn(column.session, user=self._user, prompt=self._prompt)
        return services.open_session(
            org=self.comparison.org,
            user=self._user,
            prompt=self._prompt,
            system_prompt=column.system_prompt,
            chat_profile=column.chat_profile,
            explicit=column.explicit or {},
            place=services.Place(self.comparison, spot.column, spot.repeat),
        )


def _stopped(spot: Spot, session: PlaygroundSession | None) -> Failed:
    return Failed(spot, session, "CANCELLED", {"message": "Stopped."})


def start(
    *,
    org: Org,
    user: User,
    prompt: str,
    variables: dict[str, str] | None,
    columns: Sequence[Column],
    repeats: int,
) -> Calls:
    """Check all that can be checked before a model is called, and write the comparison down.

    `variables` None: braces in the prompt are text like any other. Raises InvalidBody, or ModelNotFound
    with the number of its `column` in the details.
    """
    filled = prompt if variables is None else prompting.fill(prompt, variables, longest=LONGEST_PROMPT)
    if repeats > 1 and any(column.session for column in columns):
        raise InvalidBody({"repeats": ["A session goes on once at a time."]})
    for number, column in enumerate(columns):
        _require_model(org, number, column)
    comparison = Comparison.objects.create(
        org=org, user=user, prompt=prompt, variables=variables or {}, repeats=repeats
    )
    return Calls(comparison, user=user, prompt=filled, columns=columns, repeats=repeats)


def in_column(number: int, find: Callable[[], Any]) -> Any:
    """What `find` finds; where it raises one of our errors, that tells the column's number as well."""
    try:
        return find()
    except EvalsuiteError as error:
        error.details["column"] = number
        raise


def _require_model(org: Org, number: int, column: Column) -> None:
    explicit = column.explicit or {}
    if column.session:
        explicit = {"modelProvider": column.session.model_provider, "modelName": column.session.model_name}
    in_column(
        number,
        lambda: resolution.resolve(org, profile=column.chat_profile, explicit=explicit, system_prompt=None),
    )
