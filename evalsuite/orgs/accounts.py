"""The pages of an account: log in, log out, change the password; and where the console begins."""

from __future__ import annotations

import math
from typing import Any, cast

from django.contrib.auth import views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from evalsuite.audit.services import record
from evalsuite.errors import RateLimited, Unauthenticated
from evalsuite.orgs import signing_in
from evalsuite.orgs.models import Org, User


class LoginForm(AuthenticationForm):
    """Django's form; the password is checked by the service that the API uses as well."""

    refused: RateLimited | None = None

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username and password:
            try:
                self.user_cache = signing_in.check_password(
                    self.request, username=username, password=password
                )
            except RateLimited as error:
                self.refused = error
                raise ValidationError(error.message, code="rate_limited") from error
            except Unauthenticated as error:
                raise self.get_invalid_login_error() from error
        return self.cleaned_data


class PasswordForm(PasswordChangeForm):
    """Django's form; guesses of the present password are bounded as those at the login page."""

    refused: RateLimited | None = None

    def clean_old_password(self) -> str:
        given: str = self.cleaned_data["old_password"]
        try:
            signing_in.confirm_password(self.user, given)
        except RateLimited as error:
            self.refused = error
            raise ValidationError(error.message, code="rate_limited") from error
        except Unauthenticated as error:
            message = self.error_messages["password_incorrect"]
            raise ValidationError(message, code="password_incorrect") from error
        return given


def _told_to_wait(response: HttpResponse, refused: RateLimited | None) -> HttpResponse:
    """The page as it is, with the status of the refusal where there was one."""
    if refused and refused.retry_after:
        response.status_code = refused.status
        response["Retry-After"] = str(math.ceil(refused.retry_after))
    return response


class LoginPage(views.LoginView):
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            signing_in.record_login(form.get_user(), way="page")
        return response

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        return _told_to_wait(super().form_invalid(form), cast("LoginForm", form).refused)


class LogoutPage(views.LogoutView):
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with transaction.atomic():
            if request.user.is_authenticated:
                signing_in.record_logout(request.user, way="page")
            return super().post(request, *args, **kwargs)


class PasswordPage(views.PasswordChangeView):
    """A new password ends all tokens and every other session of the account."""

    form_class = PasswordForm

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        user = cast("User", self.request.user)
        with transaction.atomic():
            response = super().form_valid(form)
            record("account.password.changed", org=None, actor=user, subject=user)
        return response

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        return _told_to_wait(super().form_invalid(form), cast("PasswordForm", form).refused)


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The first page that the caller may see, in the first of their orgs."""
    user = cast("User", request.user)
    org = Org.objects.visible_to(user).first()
    if org is None:
        return render(request, "console/no_org.html")
    can_try = "org:playground:use" in org.permissions_of(user)
    return redirect("console:playground" if can_try else "console:experiments", org_id=org.pk)


@require_safe
def admin_login(request: HttpRequest) -> HttpResponse:
    """The admin has no door of its own: the one there is counts failures and keeps a record."""
    if request.user.is_authenticated:
        raise PermissionDenied("The admin is for staff.")
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))
