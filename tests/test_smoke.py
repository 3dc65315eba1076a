def test_healthz(client):
    assert client.get("/healthz").json() == {"ok": True}


def test_ready(client, db):
    assert client.get("/readyz").status_code == 200
