"""How much later than at the provider a token arrives at our client. Prints milliseconds.

Run: DEBUG=1 .venv/bin/python -m benchmarks.stream_overhead
Uses a throwaway SQLite database, a real web server and a scripted Ollama on loopback.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

folder = tempfile.mkdtemp()
os.environ.update(DEBUG="1", DATABASE_URL=f"sqlite:///{folder}/bench.sqlite3", BROKER_URL="memory://")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "evalsuite.settings")

TRIALS, TOKENS = 40, 10


class Clocked(BaseHTTPRequestHandler):
    """Answers a chat with the time of writing as each token."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as real model servers have it

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(TOKENS):
            time.sleep(0.02)
            self.chunk(f'{{"message": {{"content": "{time.monotonic()} "}}, "done": false}}\n')
        self.chunk('{"message": {"content": ""}, "done": true, "done_reason": "stop"}\n')
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()


def main() -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client

    from tests import factories
    from tests.site import Site

    call_command("migrate", verbosity=0)
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Clocked)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    org = factories.make_org()
    user = factories.make_user("bench", org=org)
    model = factories.make_model(base_url=f"http://127.0.0.1:{provider.server_port}")
    factories.set_default_model(org, model)
    client = Client()
    client.force_login(user)
    with Site() as site:
        measure(f"{site.url}/api/v1/orgs/{org.pk}/playground/stream", user)


def measure(url: str, user: Any) -> None:
    import json

    import requests
    from rest_framework_simplejwt.tokens import RefreshToken

    headers = {"Authorization": f"Bearer {RefreshToken.for_user(user).access_token}"}
    first, later = [], []
    for _ in range(TRIALS):
        late = []
        with requests.post(url, json={"prompt": "x"}, headers=headers, stream=True, timeout=30) as response:
            for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith('data: {"content"'):
                    written = float(json.loads(line[6:])["content"])
                    late.append((time.monotonic() - written) * 1000)
        first.append(late[0])
        later.extend(late[1:])
    for name, values in (("first token", first), ("later tokens", later)):
        ordered = sorted(values)
        p95 = ordered[int(len(ordered) * 0.95)]
        print(
            f"{name}: median {statistics.median(ordered):.1f} ms, p95 {p95:.1f} ms, max {ordered[-1]:.1f} ms"
        )


if __name__ == "__main__":
    main()
