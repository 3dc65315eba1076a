from __future__ import annotations

from django.contrib.auth import views
from django.urls import URLPattern, path
from django.views.generic import RedirectView

from evalsuite.orgs import (
    accounts,
    auth_api,
    console,
    invitations_api,
    join_views,
    key_views,
    keys_api,
    me_api,
    member_views,
    members_api,
)

MEMBER = "orgs/<str:org_id>/members/<str:member_id>"
INVITATIONS = "orgs/<str:org_id>/invitations"
ONE_INVITATION = f"{INVITATIONS}/<str:invitation_id>"

api_urlpatterns: list[URLPattern] = [
    path("auth/token", auth_api.TokenView.as_view(), name="token"),
    path("auth/token/refresh", auth_api.RefreshView.as_view(), name="token-refresh"),
    path("auth/logout", auth_api.LogoutView.as_view(), name="token-logout"),
    path("me", me_api.MeView.as_view(), name="me"),
    path("orgs", me_api.OrgList.as_view(), name="org-list"),
    path("orgs/<str:org_id>", me_api.OrgDetail.as_view(), name="org-detail"),
    path("orgs/<str:org_id>/members", members_api.MemberList.as_view(), name="member-list"),
    path(MEMBER, members_api.MemberDetail.as_view(), name="member-detail"),
    path(INVITATIONS, invitations_api.InvitationList.as_view(), name="invitation-list"),
    path(ONE_INVITATION, invitations_api.InvitationDetail.as_view(), name="invitation-detail"),
    path("invitations/accept", invitations_api.AcceptInvitation.as_view(), name="invitation-accept"),
    path("orgs/<str:org_id>/api-keys", keys_api.KeyList.as_view(), name="api-key-list"),
    path("orgs/<str:org_id>/api-keys/<str:key_id>", keys_api.KeyDetail.as_view(), name="api-key-detail"),
]
console_urlpatterns: list[URLPattern] = [
    path("", accounts.home, name="home"),
    path("orgs/<str:org_id>/menu", console.OrgMenu.as_view(), name="org-menu"),
    path("orgs/<str:org_id>/members", member_views.MembersPage.as_view(), name="members"),
    path(f"{MEMBER}/role", member_views.ChangeRole.as_view(), name="member-role"),
    path(f"{MEMBER}/remove", member_views.RemoveMember.as_view(), name="member-remove"),
    path(INVITATIONS, member_views.Invite.as_view(), name="invite"),
    path(f"{ONE_INVITATION}/revoke", member_views.RevokeInvitation.as_view(), name="invitation-revoke"),
    path("orgs/<str:org_id>/api-keys", key_views.KeysPage.as_view(), name="api-keys"),
    path(
        "orgs/<str:org_id>/api-keys/<str:key_id>/revoke", key_views.RevokeKey.as_view(), name="api-key-revoke"
    ),
]
account_urlpatterns: list[URLPattern] = [
    path("admin/login/", accounts.admin_login, name="admin-login"),
    path(  # the admin's own page counts no guesses and leaves no event
        "admin/password_change/",
        RedirectView.as_view(pattern_name="password_change"),
        name="admin-password",
    ),
    path("", RedirectView.as_view(pattern_name="console:home"), name="root"),
    path("join/<str:token>", join_views.JoinPage.as_view(), name="join"),
    path("login", accounts.LoginPage.as_view(), name="login"),
    path("logout", accounts.LogoutPage.as_view(), name="logout"),
    path("account/password", accounts.PasswordPage.as_view(), name="password_change"),
    path("account/password/done", views.PasswordChangeDoneView.as_view(), name="password_change_done"),
]
