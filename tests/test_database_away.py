"""While the database gives no connection, every door says so and when to come again."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection

WORDS = "The database does not answer at the moment."


@pytest.fixture
def away(db):
    def refuse(execute, sql, params, many, context):
        raise OperationalError("couldn't get a connection after 30.00 sec from secret-host")

    with connection.execute_wrapper(refuse):
        yield


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/v1/orgs", {}),
        ("/app/", {}),
        ("/app/", {"HX-Request": "true"}),
        ("/admin/", {}),
    ],
)
def test_a_clear_503(client, alice, request, path, headers):
    client.force_login(alice)
    request.getfixturevalue("away")
    answer = client.get(path, headers=headers)
    text = answer.content.decode()
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert WORDS in text
    assert "secret-host" not in text
    assert "Traceback" not in text
