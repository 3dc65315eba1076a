"""The environment, read once, by settings.py alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parent.parent
SHORTEST_SECRET = 32  # characters
FEWEST_CHARACTERS = 5  # different ones
FOR_DEBUGGING = "insecure-"  # how a secret begins that anybody can look up
DEBUGGING_FIELD_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def read_environment() -> environ.FileAwareEnv:
    """The process environment; values in `.env` fill in what is not set there.

    `NAME_FILE=/run/secrets/x` is read where NAME itself is not set.
    """
    env = environ.FileAwareEnv()
    dotenv = ROOT / ".env"
    if dotenv.is_file():
        env.read_env(str(dotenv))
    return env


def require_good_secret(name: str, value: str) -> None:
    """Raises ImproperlyConfigured for one that is missing, known to everybody, or soon guessed."""
    if not value:
        problem = "is not set"
    elif FOR_DEBUGGING in value:
        problem = "is one that everybody knows"
    elif len(value) < SHORTEST_SECRET:
        problem = f"is shorter than {SHORTEST_SECRET} characters"
    elif len(set(value)) < FEWEST_CHARACTERS:
        problem = f"has fewer than {FEWEST_CHARACTERS} different characters"
    else:
        return
    raise ImproperlyConfigured(f"{name} {problem}. See .env.example for how to make one.")


def require_good_field_keys(keys: Sequence[str]) -> None:
    """Raises ImproperlyConfigured likewise. Never repeats a key."""
    if not keys:
        problem = "is not set"
    elif DEBUGGING_FIELD_KEY in keys:
        problem = "has one that everybody knows"
    elif not all(map(_is_fernet_key, keys)):
        problem = "has one that is no Fernet key"
    else:
        return
    raise ImproperlyConfigured(f"FIELD_ENCRYPTION_KEYS {problem}. See .env.example for how to make one.")


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True
