"""The default for every DRF view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView


class ClosedByDefault(BasePermission):
    """Nobody enters a view that does not say who may."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return False
