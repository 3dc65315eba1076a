"""Making one call of the matrix: filled with ids, watched for writes, and undone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.http import HttpResponse

from tests.fakes.server import FakeServer
from tests.rights.rules import Rule
from tests.rights.world import World

WORD = re.compile(r"\{(=?)([a-z0-9_]+)\}")
READS = ("SELECT", "WITH", "SAVEPOINT", "RELEASE", "ROLLBACK", "PRAGMA", "EXPLAIN", "SET")


@dataclass(frozen=True)
class Seen:
    """What one call did."""

    status: int
    text: str
    location: str
    writes: tuple[str, ...]
    provider_calls: int

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.text)


@dataclass
class Caller:
    world: World
    provider: FakeServer

    def call(self, who: str, method: str, url: str, body: Any = None, **meta: str) -> Seen:
        """Nothing of it stays. JSON and tokens for the API, forms and sessions for pages."""
        is_api = url.startswith("/api/")
        extra = {"HTTP_PREFER": "respond-async", **meta}
        if is_api and who in self.world.tokens:
            extra["HTTP_AUTHORIZATION"] = f"Bearer {self.world.tokens[who]}"
        client = self.world.sessions["anonymous" if is_api else who]
        if is_api:
            sent = {"data": json.dumps({} if body is None else body), "content_type": "application/json"}
        else:
            sent = {"data": _form(body or {}), "content_type": "application/x-www-form-urlencoded"}
        before, cookies = len(self.provider.requests), client.cookies.copy()
        with _undone(), _writes() as writes:
            response = client.generic(method, url, **sent, **extra)
            text = _text(response)
        client.cookies = cookies
        calls = len(self.provider.requests) - before
        return Seen(response.status_code, text, response.get("Location", ""), tuple(writes), calls)


def _form(body: dict[str, Any]) -> str:
    from urllib.parse import urlencode

    return urlencode(body, doseq=True)


def _text(response: HttpResponse) -> str:
    """All of it, but of server-sent events nothing: the model is not asked before they are read."""
    if not response.streaming:
        return response.content.decode(errors="replace")
    if response.get("Content-Type", "").startswith("text/event-stream"):
        return ""
    return b"".join(response).decode(errors="replace")


@contextmanager
def _undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@contextmanager
def _writes() -> Iterator[list[str]]:
    """The statements that changed rows."""
    found: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        # A session that is over is swept away when its cookie comes once more.
        is_read = sql.lstrip().upper().startswith((*READS, 'DELETE FROM "DJANGO_SESSION"'))
        # A gate that is looked at for the first time is a row, by which the database tells its time.
        is_read |= sql.startswith("INSERT") and '"llm_routing_gatestate"' in sql and params[1] == ""
        if not is_read and context["cursor"].rowcount != 0:
            found.append(f"{sql} with {params}")
        return result

    with connection.execute_wrapper(watch):
        yield found


def words_of(rule: Rule) -> list[str]:
    """The ids that the rule's path, query and body name, each once."""
    text = rule.path + json.dumps(rule.body)
    return list(dict.fromkeys(word for fixed, word in WORD.findall(text) if not fixed))


def in_query(rule: Rule, word: str) -> bool:
    path, _, query = rule.path.partition("?")
    return f"{{{word}}}" in query and f"{{{word}}}" not in path + json.dumps(rule.body)


def filled(text: str, ids: dict[str, str]) -> str:
    return WORD.sub(lambda found: found[2] if found[1] else ids[found[2]], text)


def shape(path: str) -> str:
    """The path without its query, each id or word in it as `*`."""
    steps = path.partition("?")[0].split("/")
    return "/".join("*" if step.startswith(("{", "<")) else step for step in steps)
