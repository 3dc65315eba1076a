"""Every route of an org, by every method, by every kind of caller, on own and on foreign ids."""

from __future__ import annotations

import json
import os

import pytest

from tests.rights.calling import Caller, Seen, filled, in_query, shape, words_of
from tests.rights.rules import API, CONSOLE, ROLES_WITH, Rule
from tests.rights.world import CALLERS, WORDS
from tests.test_urlconf import OF_AN_ORG, implemented, view_of

pytestmark = [pytest.mark.django_db, pytest.mark.matrix]
ALL_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
# Of the methods that a route lacks each caller tries one, in turn; with this set every one of them.
FULL = bool(os.environ.get("ALL_METHODS"))
PREFIXES = {"api": "/api/v1/orgs/", "app": "/app/orgs/"}
TABLES = {"api": API, "app": CONSOLE}
CASES = [(door, rule) for door, rules in TABLES.items() for rule in rules]
SHAPES = {  # by door: the routes as the URL conf has them, with the methods that they have
    door: {
        shape(path.removeprefix(prefix.removeprefix("/") + "<str:org_id>").removeprefix("/")): {
            method.upper() for method in implemented(view_of(pattern))
        }
        for path, pattern in OF_AN_ORG.items()
        if path.startswith(f"{door}/")
    }
    for door, prefix in PREFIXES.items()
}
each_rule = pytest.mark.parametrize(
    ("door", "rule"), CASES, ids=[f"{d} {r.method} {r.path.partition('?')[0]}" for d, r in CASES]
)


@pytest.mark.parametrize("door", TABLES)
def test_each_route_and_method_has_its_rule_and_each_rule_its_route(door):
    ruled = {(shape(rule.path), rule.method) for rule in TABLES[door]}
    assert ruled == {(path, method) for path, methods in SHAPES[door].items() for method in methods}
    assert len(ruled) == len(TABLES[door])


def url_of(door: str, rule: Rule, org: str, ids: dict[str, str]) -> str:
    path = filled(rule.path, ids)
    return f"{PREFIXES[door]}{org}{'' if not path or path[0] == '?' else '/'}{path}"


def ask(caller: Caller, door: str, rule: Rule, who: str, ids: dict[str, str], *, method: str = "") -> Seen:
    body = None if rule.body is None else json.loads(filled(json.dumps(rule.body), ids))
    return caller.call(who, method or rule.method, url_of(door, rule, ids["org"], ids), body)


def may(who: str, permission: str) -> bool:
    return who == "superuser" or who in ROLES_WITH[permission]


def nothing_happened(seen: Seen, word: str) -> bool:
    """No row changed, no model server called, and no word of the other org told."""
    return (seen.writes, seen.provider_calls, word in seen.text + seen.location) == ((), 0, False)


def is_refused(door: str, who: str, seen: Seen, permission: str) -> bool:
    """As it must be for who may not: to strangers the org is not there, to members the right is named."""
    if who == "anonymous":
        return seen.status == 401 if door == "api" else seen.location.startswith("/login?next=")
    if who in ("stranger", "removed"):
        return seen.status == 404 and (door == "app" or seen.error["error"] == "ORG_NOT_FOUND")
    named = door == "app" or seen.error["details"]["permission"] == permission
    return seen.status == 403 and named


@each_rule
def test_own_ids(caller, door, rule):
    """Who may gets it; who may not is refused, and nothing happens. A superuser's pages name all orgs."""
    own = caller.world.sides["own"]
    for who in CALLERS:
        seen = ask(caller, door, rule, who, own.ids_for(who))
        what = (who, seen.status, seen.text[:300], seen.writes)
        if may(who, rule.permission):
            assert seen.status in rule.answers, what
            assert who == "superuser" or WORDS["foreign"] not in seen.text, what
        else:
            assert is_refused(door, who, seen, rule.permission), what
            assert nothing_happened(seen, WORDS["own"] if who in OUTSIDE else WORDS["foreign"]), what


OUTSIDE = ("anonymous", "stranger", "removed")


@each_rule
def test_another_orgs_address(caller, door, rule):
    """With that org's own ids. The stranger is at home there, and a superuser is everywhere."""
    foreign = caller.world.sides["foreign"]
    for who in set(CALLERS) - {"stranger", "superuser"}:
        seen = ask(caller, door, rule, who, foreign.ids_for("owner"))
        what = (who, seen.status, seen.text[:300], seen.writes)
        assert is_refused(door, "anonymous" if who == "anonymous" else "stranger", seen, ""), what
        assert nothing_happened(seen, WORDS["foreign"]), what


@each_rule
def test_another_orgs_object_under_ones_own_address(caller, door, rule):
    """One id after the other, in the path, the query and the body. What a query names may be left out."""
    own, foreign = caller.world.sides["own"], caller.world.sides["foreign"]
    for word in words_of(rule):
        if word == "newcomer":  # belongs to no org
            continue
        for who in CALLERS:
            ids = own.ids_for(who)
            ids = {**ids, word: foreign.ids_for("owner")[word]}
            seen = ask(caller, door, rule, who, ids)
            what = (word, who, seen.status, seen.text[:300], seen.writes, seen.provider_calls)
            if not may(who, rule.permission):
                assert is_refused(door, who, seen, rule.permission), what
            elif in_query(rule, word):
                assert seen.status in (200, 400, 404), what
            else:
                assert seen.status == 404, what
                assert door == "app" or seen.error["error"].endswith("_NOT_FOUND"), what
            hidden = WORDS["own"] if who in OUTSIDE else WORDS["foreign"]
            asked_for = ids[word] if word in ("slug", "model_name") else ""  # the caller's own words
            text = seen.text.replace(asked_for, "") if asked_for else seen.text
            told = hidden in text and not (who == "superuser" and seen.status == 200)
            assert (seen.writes, seen.provider_calls, told) == ((), 0, False), what


@pytest.mark.parametrize(("door", "path"), [(door, path) for door in SHAPES for path in SHAPES[door]])
def test_the_other_methods(caller, door, path):
    """HEAD and OPTIONS need what reading needs; one that a route lacks is refused. None does anything."""
    rules = {rule.method: rule for rule in TABLES[door] if shape(rule.path) == path}
    lacking = sorted(set(ALL_METHODS) - set(rules) - {"HEAD", "OPTIONS"})
    turn = list(SHAPES[door]).index(path)
    for method in ("HEAD", "OPTIONS", *lacking):
        # Another org's address makes a difference where there may be an answer.
        asked = caller.world.sides if method == "HEAD" else ("own",)
        for number, who in enumerate(CALLERS):
            if method in lacking and not FULL and lacking[(turn + number) % len(lacking)] != method:
                continue
            for side in (caller.world.sides[name] for name in asked):
                check_other_method(caller, door, rules, method, who, side)


def check_other_method(caller, door, rules, method, who, side):
    some = rules.get("GET") or next(iter(rules.values()))
    seen = ask(caller, door, some, who, side.ids_for(who), method=method)
    what = (method, who, side.word, seen.status, seen.text[:200])
    assert (seen.writes, seen.provider_calls) == ((), 0), what
    at_home = side.word == (WORDS["foreign"] if who == "stranger" else WORDS["own"])
    if who == "anonymous":
        assert seen.status == (401 if door == "api" else 302), what
    elif who == "removed" or (not at_home and who != "superuser"):
        assert seen.status == 404, what
        assert side.word not in seen.text, what
    elif method == "HEAD" and "GET" in rules:
        allowed = may("owner" if who == "stranger" else who, some.permission)
        assert seen.status == (200 if allowed else 403), what
    else:
        assert seen.status in (403, 405, *((200, 204) if method == "OPTIONS" else ())), what
