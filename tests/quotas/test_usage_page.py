from __future__ import annotations

import pytest

from tests import factories

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("editor", 403), ("viewer", 403)])
def test_the_page_and_the_way_to_it_are_for_admins(client, org, role, status):
    client.force_login(factories.make_user(org=org, role=role))
    page = f"/app/orgs/{org.pk}/usage"
    assert client.get(page).status_code == status
    experiments = client.get(f"/app/orgs/{org.pk}/experiments")
    assert (page in experiments.content.decode()) is (status == 200)
