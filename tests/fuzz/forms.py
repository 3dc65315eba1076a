"""What may be posted to the console: each of its routes, with the fields that its pages have for it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote_plus, urlsplit

from django.test import Client
from django.urls import Resolver404, resolve
from hypothesis import strategies as st

from tests.audit.routes import ROUTES

BY_PEOPLE = ("app/", "login", "logout", "account/")
WORDS = [
    "", " ", "0", "-1", "1.5", "1e400", "nan", "-inf", "9" * 400, "0x10", "true", "null", "on", "None",
    "\0", "a\0b", "\x7f\x1b[31m", "\ufeff", "\u202eevil", "é" * 300, "٣", "²", "1_000", "+1",
    "[]", "{}", '{"a":', '{"type":"object"}', "[" * 2_000, '{"a":' * 2_000, '"\\ud800"', "{{ input }}",
    "{% debug %}", "<script>alert(1)</script>", "'; DROP TABLE x; --", "../../etc/passwd", "=1+1", "%s%n",
    "a" * 5_000, "x\r\ny: z", "2026-02-30", "0000-00-00", "9999-12-31T23:59:59+99:99", "(a+)+$", "[z-a]",
    "key,content\nk,c\n", "key,content\n\"", "a\tb\n", "metadata.", "PK\x03\x04", "import", "1,2",
]  # fmt: skip
HEADERS: list[dict[str, str]] = [{}, {"HX-Request": "true"}, {"HX-Request": "true", "HX-Boosted": "true"}]
TYPES = ["application/json", "text/plain", "application/xml", "", "multipart/form-data", "a/b; charset=x"]
URLENCODED, BOUNDARY = "application/x-www-form-urlencoded", "frontier"
CHARSETS = ["", "; charset=utf-16", "; charset=none-such", "; charset=utf-7"]


def routes() -> list[str]:
    """As the URL conf has them: the table of the audit's tests holds exactly what is there."""
    return [path for method, path in ROUTES if method == "POST" and path.startswith(BY_PEOPLE)]


class Forms(HTMLParser):
    """The fields of a page's forms by where they go, and of what posts without a form."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, set[str]] = defaultdict(set)
        self._action: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            is_post = (given.get("method") or "get").lower() == "post"
            action = given.get("hx-post") or (given.get("action") or "" if is_post else None)
            self._action = action
        elif posted := given.get("hx-post"):
            self.found[posted] |= {given["name"]} if given.get("name") else set()
        if self._action is not None and given.get("name"):
            self.found[given.get("formaction") or self._action].add(str(given["name"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._action = None


def fields_of_pages(client: Client, addresses: dict[str, str]) -> dict[str, set[str]]:
    """By route: what the pages at `addresses` (route -> address) ask for."""
    fields: dict[str, set[str]] = defaultdict(set)
    for address in addresses.values():
        answer = client.get(address)
        if answer.status_code != 200 or "text/html" not in answer.get("Content-Type", ""):
            continue
        page = Forms()
        page.feed(answer.content.decode())
        for action, names in page.found.items():
            path = urlsplit(action).path or urlsplit(address).path
            try:
                fields[resolve(path).route] |= names
            except Resolver404:
                continue
    return fields


def known_fields(world: Any, path: str) -> dict[str, Any]:
    """A body that is right."""
    body = ROUTES["POST", path].body
    return dict(body(world) if callable(body) else body)


def values(ids: list[str]) -> st.SearchStrategy[str]:
    """Of one field: words made to harm, ids of one's own, another's and nobody's, and anything."""
    return st.sampled_from(WORDS) | st.sampled_from(ids) | st.text(max_size=200)


def bodies(right: dict[str, Any], names: set[str], ids: list[str]) -> st.SearchStrategy[tuple[bytes, str]]:
    """Bytes and their content type."""
    asked = sorted(names | set(right) | {"csrfmiddlewaretoken", "no-such-field"})
    pairs = st.lists(st.tuples(st.sampled_from(asked), values(ids)), max_size=12)
    whole = st.permutations(_pairs(right)).flatmap(lambda kept: pairs.map(lambda more: [*kept, *more]))
    one_wrong = st.tuples(st.sampled_from(asked), values(ids)).map(
        lambda wrong: [*[pair for pair in _pairs(right) if pair[0] != wrong[0]], wrong]
    )
    given = one_wrong | whole | pairs
    return (
        st.tuples(given.map(urlencoded), st.sampled_from(CHARSETS).map(lambda end: URLENCODED + end))
        | st.tuples(given.flatmap(multiparts), st.just(f"multipart/form-data; boundary={BOUNDARY}"))
        | st.tuples(st.binary(max_size=300), st.sampled_from([URLENCODED, *TYPES]))
        | st.tuples(given.map(urlencoded), st.sampled_from(TYPES))
    )


def _pairs(right: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, str(one))
        for name, value in right.items()
        for one in (value if isinstance(value, list) else [value])
    ]


def urlencoded(pairs: list[tuple[str, str]]) -> bytes:
    """Surrogates as the bytes that no UTF-8 has."""
    return "&".join(
        f"{name}={quote_plus(value.encode('utf-8', 'surrogatepass'))}" for name, value in pairs
    ).encode()


def multiparts(pairs: list[tuple[str, str]]) -> st.SearchStrategy[bytes]:
    """Whole, cut off anywhere, with files where no files belong, or with lying heads."""
    heads = st.sampled_from(
        [
            "",
            '; filename="a.csv"',
            '; filename="a.xlsx"',
            '; filename="a.jsonl"\r\nContent-Transfer-Encoding: base64',
            '; filename=""',
            '; filename="../../x"\r\nContent-Type: multipart/mixed; boundary=b',
            "; filename*=UTF-8''%ff%fe",
            "\r\nContent-Length: 99999999999",
        ]
    )

    def whole(chosen: list[str]) -> bytes:
        parts = [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode()
            + value.encode("utf-8", "surrogatepass")
            + b"\r\n"
            for (name, value), head in zip(pairs, chosen, strict=True)
        ]
        return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()

    made = st.lists(heads, min_size=len(pairs), max_size=len(pairs)).map(whole)
    return made | made.flatmap(lambda data: st.integers(0, len(data)).map(lambda end: data[:end]))


def addresses_of(world: Any, paths: Iterator[str] | list[str]) -> dict[str, str]:
    """Each route that the world has all ids for, with its address."""
    found = {}
    for path in paths:
        words = re.findall(r"<str:(\w+)>", path)
        if all(word in vars(world) for word in words):
            found[path] = "/" + re.sub(r"<str:(\w+)>", lambda word: str(vars(world)[word[1]]), path)
    return found
