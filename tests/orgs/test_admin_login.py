from tests import factories


def test_the_admin_sends_visitors_to_the_one_login_page(client, db):
    response = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0] == "/login?next=/admin/"
    assert client.post("/admin/login/", {"username": "a", "password": "b"}).status_code == 405


def test_signed_in_people_who_are_no_staff_are_told_so(client, alice):
    client.force_login(alice)
    assert client.get("/admin/", follow=True).status_code == 403


def test_staff_come_in(client, org):
    client.force_login(factories.make_user("sam", org=org, role="admin", is_staff=True))
    assert client.get("/admin/").status_code == 200
