"""Where the link of an invitation leads: sign in or sign up, and join."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import BaseUserCreationForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from evalsuite import context
from evalsuite.orgs import invitations, signing_in
from evalsuite.orgs.models import Invitation, Membership, User
from evalsuite.throttle import LinkAttempt


class SignUpForm(BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("username",)


@method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")
class JoinPage(View):
    """Whoever is signed in joins; others sign up here, or sign in first and come back."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        return self._show(invitations.look_up(token), SignUpForm())

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        if request.user.is_authenticated:
            return self._welcome(invitations.accept(token, user=request.user))
        invitation = invitations.look_up(token)
        form = SignUpForm(request.POST)
        if not form.is_valid():
            if form.has_error("username", "unique"):
                LinkAttempt(context.current.get().address)  # one link must not tell the names of all accounts
            return self._show(invitation, form)
        with transaction.atomic():
            user = form.save(commit=False)
            member = invitations.sign_up(token, user=user)
            login(request, user)
            signing_in.record_login(user, way="page")
        return self._welcome(member)

    def _show(self, invitation: Invitation, form: SignUpForm) -> HttpResponse:
        user = self.request.user
        is_member = user.is_authenticated and invitation.org.memberships.filter(user=user.pk).exists()
        shown = {"invitation": invitation, "form": form, "is_member": is_member}
        return render(self.request, "orgs/join.html", shown)

    def _welcome(self, member: Membership) -> HttpResponse:
        messages.success(self.request, f"You are a member of {member.org.name} now.")
        return redirect("console:experiments", org_id=member.org_id)
