"""The product as users reach it: uvicorn on a socket, in a thread of the test's process."""

from __future__ import annotations

import threading
import time

import uvicorn

from evalsuite.handler import OneThreadHandler
from evalsuite.http import BoundedHeads


class Site:
    """A context manager; `url` once it serves."""

    def __init__(self) -> None:
        options = {"lifespan": "off", "http": BoundedHeads, "log_level": "warning", "proxy_headers": False}
        config = uvicorn.Config(OneThreadHandler(), host="127.0.0.1", port=0, **options)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> Site:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(5)
