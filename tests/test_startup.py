"""What a production start is refused for, by real processes with real environments."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet

from evalsuite import startup
from evalsuite.env import DEBUGGING_FIELD_KEY, FOR_DEBUGGING, ROOT

SETTINGS = ["-c", "import evalsuite.settings"]
WEB = ["-c", "import evalsuite.asgi"]
UVICORN = ["-m", "uvicorn", "evalsuite.asgi:application", "--lifespan", "off", "--port", "1"]
WORKER = ["-m", "celery", "-A", "evalsuite", "worker", "--pool=solo"]
SERVE = ["manage.py", "serve", "--port", "1"]


@pytest.fixture
def env(tmp_path):
    """A good one."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "PYTHONPATH": str(ROOT),
        "ALLOWED_HOSTS": "evalsuite.example",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
        "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "DATA_DIR": str(tmp_path),
        "STATIC_ROOT": str(tmp_path),
        "BROKER_URL": "redis://127.0.0.1:1/0",
        "DEBUG": "0",
    }


def start(command, env):
    """The last lines of what a process says that gives up at once; empty where it does not."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stderr + done.stdout if done.returncode else ""


def test_a_good_environment_starts(env):
    assert start(WEB, env) == ""


@pytest.mark.parametrize("name", ["SECRET_KEY", "JWT_SIGNING_KEY"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is not set"),
        (f"{FOR_DEBUGGING}secret_key-for-debugging-only-0000000000", "is one that everybody knows"),
        ("django-insecure-abcdefghijklmnopqrstuvwxyz0123456789", "is one that everybody knows"),
        ("s3cret" * 5, "is shorter than 32 characters"),
        ("ab" * 40, "has fewer than 5 different characters"),
    ],
)
def test_a_missing_default_or_short_secret_is_refused(env, name, value, reason):
    said = start(SETTINGS, {**env, name: value})
    assert f"{name} {reason}" in said
    assert not value or value not in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "is not set"),
        (DEBUGGING_FIELD_KEY, "has one that everybody knows"),
        (f"{'A' * 43}=,{DEBUGGING_FIELD_KEY}", "has one that everybody knows"),
        ("short", "has one that is no Fernet key"),
    ],
)
def test_a_missing_default_or_bad_field_key_is_refused(env, value, reason):
    said = start(SETTINGS, {**env, "FIELD_ENCRYPTION_KEYS": value})
    assert f"FIELD_ENCRYPTION_KEYS {reason}" in said
    assert not value or value not in said.splitlines()[-1]


@pytest.mark.parametrize("command", [WEB, WORKER, SERVE], ids=["web", "worker", "serve"])
def test_debug_is_refused(env, command):
    assert "DEBUG is on" in start(command, {**env, "DEBUG": "1"})


@pytest.mark.parametrize("command", [WEB, UVICORN, WORKER], ids=["web", "uvicorn", "worker"])
def test_a_queue_in_memory_is_refused_where_there_are_several_processes(env, command):
    assert "BROKER_URL is memory://" in start(command, {**env, "BROKER_URL": "memory://"})


def test_the_serve_process_has_its_queue_in_memory(settings, monkeypatch):
    settings.EMBEDDED_BROKER, settings.DEBUG = True, False
    monkeypatch.setattr(startup, "_serves", False)
    startup.require_safe("serve")
    startup.require_safe("web")  # in the same process


def test_deployed_it_has_nothing_to_warn_of(env):
    assert start(["manage.py", "check", "--deploy", "--fail-level", "WARNING"], env) == ""
