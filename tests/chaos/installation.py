"""A whole installation in a folder of its own, from real processes on free ports."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import requests

from evalsuite.env import ROOT
from tests.chaos.invariants import Rows
from tests.chaos.parts import Part, Postgres, Redis, free_port, open_sockets, socket_inode, until
from tests.chaos.provider import MODEL

LEASE_S, SWEEP_S = 5.0, 0.5
NAME, PASSWORD = "chaos", "correct-horse-battery"


class Installation:
    """A context manager around all parts; ends them whatever happens.

    `embedded`: one serve process on SQLite. Otherwise PostgreSQL, Redis, uvicorn, and as many
    workers as are added.
    """

    def __init__(self, *, provider_url: str, embedded: bool = False, **settings: str) -> None:
        self.provider_url = provider_url
        self.embedded = embedded
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers: list[Part] = []
        self._settings = settings
        self._stack = ExitStack()
        self.session = requests.Session()
        self.session.trust_env = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
            self.folder.chmod(0o755)  # PostgreSQL runs as another user
            if self.embedded:
                self.database_file = self.folder / "chaos.sqlite3"
                self._database = f"sqlite:///{self.database_file}"
            else:
                self.redis, self.postgres = Redis(self.folder), Postgres(self.folder)
                stack.callback(self.redis.end)
                stack.callback(self.postgres.end)
                self.redis.start()
                self.postgres.make()
                self._database = self.postgres.url
            self.rows = Rows(self._database)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.tell_logs()
        self._stack.close()

    def tell_logs(self) -> None:
        """The last lines of every part, to stdout, for whoever looks for a reason."""
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")

    @property
    def env(self) -> dict[str, str]:
        """The environment of every process of the product: as in production, but with short leases."""
        key = base64.urlsafe_b64encode(b"c" * 32).decode()
        broker = "memory://" if self.embedded else self.redis.url
        ours = {
            "DEBUG": "0",
            "HTTPS": "0",
            "SECRET_KEY": "chaos-chaos-chaos-chaos-chaos-chaos-chaos-chaos",
            "JWT_SIGNING_KEY": "another-another-another-another-another-another",
            "FIELD_ENCRYPTION_KEYS": key,
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATA_DIR": str(self.folder),
            "STATIC_ROOT": str(self.folder / "static"),
            "STATICFILES_STORAGE": "django.contrib.staticfiles.storage.StaticFilesStorage",
            "DATABASE_URL": self._database,
            "BROKER_URL": broker,
            "REDIS_URL": "" if self.embedded else broker,
            "OLLAMA_URL": self.provider_url,
            "CELL_LEASE": f"{LEASE_S:g}",
            "SWEEP_EVERY": f"{SWEEP_S:g}",
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "evalsuite.settings",
            "PYTHONPATH": str(ROOT),
        }
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        return {**kept, **ours, **self._settings}

    def seed(self, *, slots: int = 64, **more: Any) -> dict[str, Any]:
        """Migrate, and make an org with a model on the provider; answers the ids."""
        wanted = {"url": self.provider_url, "slots": slots, "model": MODEL, **more}
        wanted |= {"name": NAME, "password": PASSWORD}
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.seed"],
            input=json.dumps(wanted),
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.ids: dict[str, Any] = json.loads(done.stdout)
        return self.ids

    def start_web(self, *, processes: int = 1) -> Part:
        """Uvicorn, or the serve process with everything in it; waits until it answers."""
        if self.embedded:
            command = ["manage.py", "serve", "--port", str(self.port)]
        else:
            command = ["-m", "uvicorn", "evalsuite.asgi:application", "--lifespan", "off"]
            command += ["--http", "evalsuite.http:BoundedHeads"]
            command += ["--port", str(self.port), "--log-level", "warning", "--workers", str(processes)]
        self.web = self._part("web", command)
        self.web.start()
        self.wait_for_web()
        return self.web

    def wait_for_web(self) -> None:
        until(self._web_answers, f"the web server answers, see {self.web.log}")

    def add_worker(self, *, pool: str = "threads", concurrency: int = 4, name: str = "", **env: str) -> Part:
        """A Celery worker; it is not waited for."""
        name = name or f"worker{len(self.workers) + 1}"
        command = ["-m", "celery", "-A", "evalsuite", "worker", f"--pool={pool}", "-c", str(concurrency)]
        worker = self._part(name, [*command, "-l", "WARNING", "-n", f"{name}@chaos"], **env)
        self.workers.append(worker)
        worker.start()
        return worker

    def worker_behind(self, port: int) -> Part | None:
        """The worker that holds the loopback connection from this port; None where nobody does."""
        inode = socket_inode(port)
        owners = {worker.pid: worker for worker in self.workers if worker.alive}
        return next((worker for pid, worker in owners.items() if inode and inode in open_sockets(pid)), None)

    def _part(self, name: str, arguments: list[str], **env: str) -> Part:
        # The source is found by PYTHONPATH, but `manage.py` and the pages by the working directory.
        part = Part(name, [sys.executable, *arguments], folder=self.folder, env={**self.env, **env}, cwd=ROOT)
        self._stack.callback(part.end)
        return part

    # Through the front door

    def sign_in(self) -> None:
        body = {"username": NAME, "password": PASSWORD}
        answer = self.session.post(f"{self.url}/api/v1/auth/token", json=body, timeout=20)
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access']}"

    def make_experiment(self, name: str, prompts: Sequence[str], **config: Any) -> str:
        """One variant, and an input for each prompt; answers the experiment's id."""
        made = self._post("experiments", name=name)["experiment"]["id"]
        self._post(f"experiments/{made}/variants", name="as it is", config=config)
        for begin in range(0, len(prompts), 5_000):
            rows = [
                {"key": f"case_{begin + n}", "content": p} for n, p in enumerate(prompts[begin:][:5_000], 1)
            ]
            self._post(f"experiments/{made}/inputs", inputs=rows)
        return made

    def _post(self, path: str, **body: Any) -> Any:
        answer = self.request("POST", path, json=body, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def run(self, experiment: str, *, timeout_s: float = 300, **body: Any) -> str:
        """Press Run and do not wait; answers the batch's id."""
        path = f"experiments/{experiment}/run"
        answer = self.request("POST", path, json=body, headers={"Prefer": "respond-async"}, timeout=timeout_s)
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"].rpartition("/")[2]

    def request(self, method: str, path: str, *, timeout: float = 20, **more: Any) -> requests.Response:
        """A call to the API below the org."""
        return self.session.request(
            method, f"{self.url}/api/v1/orgs/{self.ids['org']}/{path}", timeout=timeout, **more
        )

    def batch(self, batch: str) -> dict[str, Any]:
        answer = self.request("GET", f"experiments/batches/{batch}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["batch"]
        return found

    def _web_answers(self) -> bool:
        assert self.web.alive, f"the web server ended, see {self.web.log}: {self.web.log.read_text()[-2000:]}"
        try:
            return self.session.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False


class Watcher:
    """Follows a batch's event stream as a browser does: connects again when it breaks, until the end came."""

    def __init__(self, installation: Installation, batch: str) -> None:
        self.ends = 0  # events that tell of the end
        self.events = self.connections = 0
        self.trouble = ""
        path = f"/api/v1/orgs/{installation.ids['org']}/experiments/batches/{batch}/events"
        self._url = installation.url + path
        self._headers = dict(installation.session.headers)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watcher", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Until the stream has told of the end and was closed by the server."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the stream of events did not end"

    def stop(self) -> None:
        self._over.set()

    def _follow(self) -> None:
        while not self.ends and not self._over.is_set():
            self.connections += 1
            try:
                self._read()
            except requests.RequestException as error:
                self.trouble = str(error)
                time.sleep(0.3)

    def _read(self) -> None:
        session = requests.Session()
        session.trust_env = False
        headers = {**self._headers, "Accept": "text/event-stream"}
        with session.get(self._url, headers=headers, stream=True, timeout=(3, 30)) as answer:
            answer.raise_for_status()
            name = ""
            for line in answer.iter_lines(decode_unicode=True):
                field, _, value = line.partition(":")
                if field == "event":
                    name = value.strip()
                elif field == "data":
                    self._told(name, json.loads(value))

    def _told(self, name: str, event: dict[str, Any]) -> None:
        self.events += 1
        if name == "finished":
            assert event["finishedAt"], event
            self.ends += 1
