"""The environment, read once, by settings.py alone."""

from __future__ import annotations

from pathlib import Path

import environ

ROOT = Path(__file__).resolve().parent.parent


def read_environment() -> environ.FileAwareEnv:
    """The process environment; values in `.env` fill in what is not set there.

    `NAME_FILE=/run/secrets/x` is read where NAME itself is not set.
    """
    env = environ.FileAwareEnv()
    dotenv = ROOT / ".env"
    if dotenv.is_file():
        env.read_env(str(dotenv))
    return env
