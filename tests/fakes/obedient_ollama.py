"""An Ollama for tests of the engine: it does what the last word of the prompt says.

`fail-503` (always), `flaky-503` (at the first call for that prompt), `too-long`, `broken`,
`sleep-0.5`; anything else is answered with "echo: <prompt>". Follows the native API's streaming,
counts and error shapes. Its models are always loaded, so a request to load one is no call.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NS = 1_000_000


class ObedientOllama:
    """A context manager; `base_url`, `calls` (by prompt), `peak` (most calls at a time), `left` (clients)."""

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.calls: Counter[str] = Counter()
        self.peak = self.now = self.left = 0
        self.lock = threading.Lock()
        ollama = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            is_counted = False

            def log_message(self, *_):
                pass

            def do_GET(self):
                models = [{"name": "tiny:1b", "model": "tiny:1b", "digest": "d1g357", "details": {}}]
                self.send_json(200, {"models": models})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not body["messages"]:
                    self.send_json(200, {"model": body["model"], "done": True, "done_reason": "load"})
                    return
                with ollama.lock:
                    ollama.now += 1
                    ollama.peak = max(ollama.peak, ollama.now)
                self.is_counted = True
                try:
                    self.chat(body)
                except (BrokenPipeError, ConnectionResetError):
                    ollama.left += 1
                finally:
                    self.uncount()

            def uncount(self):
                """Before the last word goes out: whoever has read it may call again at once."""
                with ollama.lock:
                    ollama.now -= self.is_counted
                    self.is_counted = False

            def chat(self, body):
                prompt = body["messages"][-1]["content"]
                with ollama.lock:
                    ollama.calls[prompt] += 1
                    first = ollama.calls[prompt] == 1
                time.sleep(ollama.delay_s)
                order, _, value = prompt.split()[-1].partition("-")
                if order == "fail" or (order == "flaky" and first):
                    self.send_json(int(value), {"error": "server busy, please try again."})
                    return
                if order == "too":
                    inner = {
                        "error": {
                            "code": 400,
                            "message": "request (931 tokens) exceeds the available "
                            "context size (512 tokens), try increasing it",
                        }
                    }
                    self.send_json(400, {"error": json.dumps(inner)})
                    return
                if order == "sleep":
                    time.sleep(float(value))
                self.stream(body["model"], f"echo: {prompt}", broken=order == "broken")

            def stream(self, model, text, *, broken):
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in (text[:6], text[6:]):
                    message = {"role": "assistant", "content": piece}
                    self.chunk({"model": model, "message": message, "done": False})
                self.uncount()
                if not broken:
                    self.chunk({
                        "model": model, "message": {"role": "assistant", "content": ""}, "done": True,
                        "done_reason": "stop", "total_duration": 9 * NS, "load_duration": 1 * NS,
                        "prompt_eval_count": 7, "prompt_eval_duration": 2 * NS,
                        "eval_count": 5, "eval_duration": 5 * NS,
                    })  # fmt: skip
                self.wfile.write(b"0\r\n\r\n")

            def chunk(self, line):
                data = json.dumps(line).encode() + b"\n"
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

            def send_json(self, status, value):
                self.uncount()
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
