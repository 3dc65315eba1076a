"""An Ollama that writes tokens at a fixed pace. Each holds two moments: when its request came, and now.

Run: python -m benchmarks.token_server PORT FIRST_MS TOKENS_PER_SECOND TOKENS. The moments are seconds of the
machine's monotonic clock, so that whoever reads a token can tell how old it is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

MODEL = "paced:1b"
PROMPT = b"keep the pace"  # all others get one token, at once
LISTS = {
    "/api/tags": {"models": [{"name": MODEL, "digest": "f1" * 32, "details": {"context_length": 8192}}]},
    "/api/version": {"version": "0.33.0"},
}
LAST = {
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 5,
    "eval_count": 5,
}


def chunk(value: object) -> bytes:
    line = json.dumps(value).encode() + b"\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


class Pace:
    first_s = 0.2
    pause_s = 0.05
    tokens = 160


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            came = time.monotonic()
            length = next(
                (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")),
                0,
            )
            body = await reader.readexactly(length)
            path = head.split(" ", 2)[1]
            if path == "/api/chat":
                await write_tokens(writer, came, PROMPT in body)
                continue
            text = json.dumps(LISTS.get(path, {})).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def write_tokens(writer: asyncio.StreamWriter, came: float, is_paced: bool) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n")
    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
    loop = asyncio.get_running_loop()
    start = loop.time() + (Pace.first_s if is_paced else 0)
    for number in range(Pace.tokens if is_paced else 1):
        await asyncio.sleep(max(0, start + number * Pace.pause_s - loop.time()))
        if writer.is_closing():
            return
        message = {"role": "assistant", "content": f"{came} {time.monotonic()} "}
        writer.write(chunk({"model": MODEL, "message": message, "done": False}))
    writer.write(chunk({"model": MODEL, **LAST}) + b"0\r\n\r\n")


async def main(port: int) -> None:
    server = await asyncio.start_server(serve_one, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    Pace.first_s = float(sys.argv[2]) / 1000
    Pace.pause_s = 1 / float(sys.argv[3])
    Pace.tokens = int(sys.argv[4])
    asyncio.run(main(int(sys.argv[1])))
