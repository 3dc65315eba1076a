"""What the tests of the providers share."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llm_routing import slots
from llm_routing.gate_stores import DatabaseGates, Gates, RedisGates
from llm_routing.providers.ollama import OllamaProvider
from llm_routing.providers.transport import Transport
from llm_routing.types import CompletionRequest, Limits, Message, Parameters
from tests.conftest import end_keeper
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenAI
from tests.fakes.server import FakeServer

REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
LIMITS = Limits(connect_s=1, first_token_s=2, idle_s=2, total_s=4)


def make_request(content: str = "Hi", **parameters) -> CompletionRequest:
    return CompletionRequest("m", (Message("user", content),), Parameters(**parameters))


@pytest.fixture
def limits() -> Limits:
    return LIMITS


@pytest.fixture
def fake_ollama():
    with FakeOllama() as server:
        yield server


@pytest.fixture
def fake_openai():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def server():
    with FakeServer() as fake:
        yield fake


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A file with a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    file.write_bytes(
        signed.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)
    )
    return str(file)


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeServer(tls=context) as fake:
        yield fake


@pytest.fixture
def ollama(fake_ollama):
    return OllamaProvider(Transport(fake_ollama.url))


@pytest.fixture
def ollama_complete(fake_ollama, ollama, limits):
    """Answer the next request with a script, and give the completion of it."""

    def run(script, **parameters):
        fake_ollama.enqueue(script)
        return ollama.complete(make_request(**parameters), limits=limits)

    return run


@pytest.fixture(params=["database", "redis"])
def gates(request, monkeypatch):
    """What all processes know of endpoints, kept in the database and then in Redis."""
    store = DatabaseGates()
    if request.param == "redis":
        try:
            redis.Redis.from_url(REDIS_URL).ping()
        except redis.RedisError:
            pytest.skip(f"no Redis at {REDIS_URL}")
        store = RedisGates(REDIS_URL)
    gates = Gates(store)
    monkeypatch.setattr(slots, "store", lambda: gates)
    keeper = slots.Keeper()
    monkeypatch.setattr(slots, "keeper", keeper)
    yield gates
    end_keeper(keeper)
