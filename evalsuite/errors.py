"""The one family of errors that may reach a user, and what each looks like on the wire.

Anything outside this family is a bug and becomes a plain 500.
"""

from __future__ import annotations

from typing import Any, ClassVar


class EvalsuiteError(Exception):
    """Root of the family: `{"error": code, "details": {"message": ..., **details}}` with `status`."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    retry_after: float | None = None  # seconds; sent as Retry-After, rounded up

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = {"message": message, **details}

    def __str__(self) -> str:
        return self.message


class InvalidBody(EvalsuiteError):
    """A field with a bad value. `fields` maps each field's wire name to its reasons."""

    code, status = "INVALID_BODY", 400

    def __init__(self, fields: dict[str, list[str]]) -> None:
        super().__init__("; ".join(f"{name}: {' '.join(why)}" for name, why in fields.items()))
        self.fields = fields
        self.details = dict(fields)


class Unauthenticated(EvalsuiteError):
    code, status = "UNAUTHENTICATED", 401


class Forbidden(EvalsuiteError):
    """The caller is known but lacks `permission`."""

    code, status = "FORBIDDEN", 403

    def __init__(self, permission: str) -> None:
        super().__init__(f"This needs the permission {permission}.", permission=permission)


class NotFound(EvalsuiteError):
    """No such object, or it belongs to another org: nobody can tell which.

    `kind` is the object's name in words ("chat profile"); the code is made of it.
    """

    status = 404

    def __init__(self, kind: str, message: str | None = None, **details: Any) -> None:
        super().__init__(message or f"There is no such {kind}.", **details)
        self.kind = kind

    @property
    def code(self) -> str:  # type: ignore[override]
        return f"{self.kind.upper().replace(' ', '_')}_NOT_FOUND"


class Conflict(EvalsuiteError):
    code, status = "CONFLICT", 409


class TooLarge(EvalsuiteError):
    code, status = "TOO_LARGE", 413


class Unavailable(EvalsuiteError):
    """The database gives no connection or no answer now: it restarts, or too many ask at once."""

    code, status = "UNAVAILABLE", 503
    retry_after = 2.0

    def __init__(self) -> None:
        super().__init__("The database does not answer at the moment. Please try again.")


class RateLimited(EvalsuiteError):
    code, status = "RATE_LIMITED", 429

    def __init__(self, message: str, *, retry_after: float, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class QuotaExceeded(RateLimited):
    code = "QUOTA_EXCEEDED"
