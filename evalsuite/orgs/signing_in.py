"""Names and passwords against sessions and tokens, for the API and the login page alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.db import transaction
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken
from rest_framework_simplejwt.utils import get_md5_hash_password

from evalsuite import context
from evalsuite.audit.services import record
from evalsuite.errors import Unauthenticated
from evalsuite.orgs.models import User
from evalsuite.throttle import LoginAttempt

Way = Literal["page", "token"]


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str
    refresh: str


@receiver(pre_save, sender=OutstandingToken)
def _keep_no_token(instance: OutstandingToken, **_: Any) -> None:
    """By its number alone it is known again; the whole of it would open the account of a dump's reader."""
    instance.token = ""


def check_password(request: HttpRequest | None, *, username: str, password: str) -> User:
    """The person with this name and password. A wrong one is noted in the audit log.

    Raises Unauthenticated alike for a wrong name, a wrong password and an account that is switched
    off, and RateLimited after too many of them.
    """
    attempt = LoginAttempt(username, context.current.get().address)
    user = authenticate(request, username=username, password=password)
    if user is None:
        # What was typed as a name may be a password: only a name that exists is written down.
        known = User.objects.filter(username=username).first()
        record(
            "account.login.failed", org=None, actor=None, subject=known, after={"known": known is not None}
        )
        raise Unauthenticated("The user name or the password is wrong.")
    attempt.succeeded()
    return user


def confirm_password(user: User, password: str) -> None:
    """That it is the password of somebody who is signed in already: a stolen session is no place to guess it.

    Counts together with logging in. Raises Unauthenticated for a wrong one, and RateLimited after too many.
    """
    attempt = LoginAttempt(user.get_username(), context.current.get().address)
    if not user.check_password(password):
        record("account.password.refused", org=None, actor=user, subject=user)
        raise Unauthenticated("The password is wrong.")
    attempt.succeeded()


def record_login(user: User, *, way: Way) -> None:
    """Call it in the transaction of the session or the token."""
    record("account.login", org=None, actor=user, subject=user, after={"way": way})


def record_logout(user: User, *, way: Way) -> None:
    """As `record_login`."""
    record("account.logout", org=None, actor=user, subject=user, after={"way": way})


@transaction.atomic
def issue_tokens(user: User) -> Tokens:
    """A first pair of tokens for a person who has just shown their password."""
    refresh = RefreshToken.for_user(user)
    update_last_login(User, user)
    record_login(user, way="token")
    return Tokens(access=str(refresh.access_token), refresh=str(refresh))


@transaction.atomic
def rotate(token: str) -> Tokens:
    """A new pair for a refresh token, which is used up by it.

    Raises Unauthenticated where the token is bad, used up, or older than the password.
    """
    refresh = _use_up(token)
    user = _require_still_valid(refresh)
    record("account.token.refreshed", org=None, actor=user, subject=user)
    refresh.set_jti()
    refresh.set_exp()
    refresh.set_iat()
    refresh.outstand()
    return Tokens(access=str(refresh.access_token), refresh=str(refresh))


@transaction.atomic
def end(token: str) -> None:
    """Use up a refresh token without a new one. Raises Unauthenticated where it is bad or used up."""
    if user := _user_of(_use_up(token)):
        record_logout(user, way="token")


def _use_up(token: str) -> RefreshToken:
    try:
        refresh = RefreshToken(token)  # type: ignore[arg-type]  # takes the text, whatever its type says
        first: bool = cast("Any", refresh.blacklist())[1]  # its type forgets the second value
    except TokenError as error:
        raise _refused() from error
    if not first:  # of two that come at once one is refused
        raise _refused()
    return refresh


def _user_of(refresh: RefreshToken) -> User | None:
    return User.objects.filter(pk=str(refresh.payload.get(api_settings.USER_ID_CLAIM))).first()


def _require_still_valid(refresh: RefreshToken) -> User:
    user = _user_of(refresh)
    claimed = str(refresh.payload.get(api_settings.REVOKE_TOKEN_CLAIM))
    if user is None or not user.is_active:
        raise _refused()
    if not constant_time_compare(claimed, get_md5_hash_password(user.password)):
        raise _refused()
    return user


def _refused() -> Unauthenticated:
    return Unauthenticated("The refresh token is not valid any more.")
