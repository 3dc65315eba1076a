from __future__ import annotations

import pytest

from evalsuite.quotas import views
from evalsuite.quotas.services import settle
from tests import factories
from tests.quotas.helpers import a_call, used

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("editor", 403), ("viewer", 403)])
def test_the_page_and_the_way_to_it_are_for_admins(client, org, role, status):
    client.force_login(factories.make_user(org=org, role=role))
    page = f"/app/orgs/{org.pk}/usage"
    assert client.get(page).status_code == status
    experiments = client.get(f"/app/orgs/{org.pk}/experiments")
    assert (page in experiments.content.decode()) is (status == 200)


@pytest.mark.parametrize(("shown", "line"), [(2, '<th scope="row">All others</th>'), (3, None)])
def test_what_is_not_shown_is_summed_up(client, org, monkeypatch, shown, line):
    monkeypatch.setattr(views, "SHOWN", shown)
    settle(org, [used(a_call(model=f"m{n}"), 100 * n, 7) for n in range(1, 4)])
    client.force_login(factories.make_user(org=org, role="admin"))
    page = " ".join(client.get(f"/app/orgs/{org.pk}/usage?by=model").content.decode().split())
    if line:
        assert (
            line + ' <td class="number">1</td> <td class="number">100</td> <td class="number">7</td>' in page
        )
    assert ("All others" in page) is bool(line)
    assert '<td class="number">600</td>' in page
