"""Processes that can be hurt: killed, stopped, continued, started again at the same address."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import redis

T = TypeVar("T")
START_LIMIT_S = 40.0


def until(
    condition: Callable[[], T], what: str, *, timeout_s: float = START_LIMIT_S, every_s: float = 0.05
) -> T:
    """Ask again and again until the answer is true, and give it. Raises AssertionError with `what`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not come true within {timeout_s:g} s: {what}"
        time.sleep(every_s)
    return value


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


ESTABLISHED = "01"


def socket_inode(port: int) -> str | None:
    """The inode of the open connection that begins at this port of loopback."""
    local = f"0100007F:{port:04X}"
    for _ in range(20):  # the table is read in pieces, and what comes and goes meanwhile hides others
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if (fields[1], fields[3]) == (local, ESTABLISHED):
                return fields[9]
    return None


def open_sockets(pid: int) -> set[str]:
    """Inodes of the sockets that a process holds."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):  # closed meanwhile
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    return inodes


class Part:
    """One process of the installation. What it writes goes to `<name>.log` in the folder."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = list(command)
        self._env = env
        self._folder = folder
        self._cwd = cwd or folder
        self._user: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.alive, f"{self.name} is running already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._env, stdout=log, stderr=log, **self._user
            )

    def kill(self) -> None:
        """SIGKILL to the process and to its children, which could not outlive a dead machine."""
        children = self.children()
        self._signal(signal.SIGKILL)
        self.process.wait(10)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_child(self, number: int) -> bool:
        """SIGKILL to one process of the pool. False where it has none."""
        children = self.children()
        if not children:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[number % len(children)], signal.SIGKILL)
        return True

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: alive, and silent."""
        for pid in (self.pid, *self.children()):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in (*self.children(), self.pid):
            os.kill(pid, signal.SIGCONT)

    def wait(self, timeout_s: float) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        return self.process.wait(timeout_s)

    def children(self) -> list[int]:
        with contextlib.suppress(OSError):
            return [
                int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            ]
        return []

    def memory_mb(self) -> float:
        """Resident memory of the process alone."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def end(self) -> None:
        """Whatever state it is in: it is gone after this."""
        if self.alive:
            self.kill()

    def _signal(self, number: int) -> None:
        self.process.send_signal(number)


class Redis(Part):
    """A Redis of our own, without anything on disk: a restart is a wipe."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        binary = shutil.which("redis-server") or "redis-server"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__("redis", [binary, *options], folder=folder)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def start(self) -> None:
        super().start()
        until(self._answers, "Redis answers")

    def wipe(self) -> None:
        self.client.flushall()

    def fill(self) -> None:
        """No room for anything more: each write is refused."""
        self.client.config_set("maxmemory-policy", "noeviction")
        self.client.config_set("maxmemory", "1")

    def empty(self) -> None:
        self.client.config_set("maxmemory", "0")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


def postgres_bin() -> Path | None:
    """Where `initdb` and `postgres` are; None where they are not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class Postgres(Part):
    """A PostgreSQL of our own. It may not run as root: as the user `postgres` then."""

    def __init__(self, folder: Path) -> None:
        bin_folder = postgres_bin()
        assert bin_folder is not None, "PostgreSQL is not installed"
        self.port = free_port()
        self._data = folder / "postgres"
        self._bin = bin_folder
        user = "postgres" if os.geteuid() == 0 else None
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # only a machine that dies could tell the difference
            "max_connections": "200",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(bin_folder / "postgres"), "-D", str(self._data), "-p", str(self.port), *flags]
        super().__init__("postgresql", command, folder=folder, user=user)

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/chaos"

    def make(self) -> None:
        """Make the cluster, start it, make the database."""
        self._data.mkdir()
        if self._user:
            shutil.chown(self._data, "postgres", "postgres")
        command = [
            self._bin / "initdb",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "-N",
            "-D",
            self._data,
        ]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL, **self._user)
        self.start()
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE chaos")

    def start(self) -> None:
        super().start()
        until(self._answers, "PostgreSQL answers")

    def crash(self) -> None:
        """Immediate mode: all connections are cut, and the log is replayed at the next start."""
        self._signal(signal.SIGQUIT)
        self.process.wait(20)

    def end(self) -> None:
        if self.alive:
            self.crash()

    def _address(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database} connect_timeout=3"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._address("postgres")).close()
        except psycopg.Error:
            return False
        return True
