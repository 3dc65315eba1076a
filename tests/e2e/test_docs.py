"""The API's page in a browser: it draws under our policy, and asks nobody else for anything."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


def test_swagger_ui_shows_the_routes_without_a_foreign_request(page):
    page.goto("/api/v1/docs")
    page.locator(".opblock").nth(40).wait_for(timeout=20_000)
