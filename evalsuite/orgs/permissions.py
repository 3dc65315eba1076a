"""Who may do what: the one table, and the one question asked of it."""

from __future__ import annotations

from typing import Final, Literal, get_args

Permission = Literal[
    "org:experiments:read",
    "org:experiments:write",
    "org:experiments:rate",
    "org:playground:use",
    "org:profiles:write",
    "org:models:write",
    "org:members:manage",
    "org:keys:manage",
    "org:audit:read",
    "org:usage:read",
]
ALL: Final[frozenset[Permission]] = frozenset(get_args(Permission))

IMPLIED: Final[dict[Permission, frozenset[Permission]]] = {
    "org:experiments:write": frozenset({"org:experiments:rate", "org:experiments:read"}),
    "org:experiments:rate": frozenset({"org:experiments:read"}),
}

# What each role is granted; IMPLIED adds the rest.
GRANTS: Final[dict[str, frozenset[Permission]]] = {
    "owner": ALL,
    "admin": ALL,
    "editor": frozenset({"org:experiments:write", "org:playground:use", "org:profiles:write"}),
    "rater": frozenset({"org:experiments:rate"}),
    "viewer": frozenset({"org:experiments:read"}),
}

# What a program's key may be given: never what would make it, or somebody, more than it is.
FOR_KEYS: Final[frozenset[Permission]] = ALL - {"org:members:manage", "org:keys:manage"}


def with_implied(granted: frozenset[Permission]) -> frozenset[Permission]:
    return granted.union(*(IMPLIED.get(permission, frozenset()) for permission in granted))


ROLE_PERMISSIONS: Final[dict[str, frozenset[Permission]]] = {
    role: with_implied(granted) for role, granted in GRANTS.items()
}
