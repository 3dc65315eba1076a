"""The web server's own protocol, with a bound for what is no body: uvicorn has none for that."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD = 64 * 1024  # bytes, beside what came in one piece with its beginning
FRAMING = 8  # bytes around each byte of a body, at most: so much has a chunk of one byte
TOO_LARGE = b"Request Header Fields Too Large"


class BoundedHeads(HttpToolsProtocol):
    """Answers 431 and closes. `uvicorn --http evalsuite.http:BoundedHeads`, or the class in its Config."""

    _began = False
    _outside = _body = _taken = 0

    def on_message_begin(self) -> None:
        self._began, self._outside, self._body = True, 0, 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._taken += len(body)
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        self._began, self._taken = False, 0
        super().data_received(data)
        self._body += self._taken
        if not self._began:
            self._outside += len(data) - self._taken
            if self._outside > LONGEST_HEAD + FRAMING * self._body:
                self._refuse()

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else another answer may be under way
            head = b"HTTP/1.1 431 %s\r\ncontent-type: text/plain; charset=utf-8\r\n" % TOO_LARGE
            end = b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(TOO_LARGE), TOO_LARGE)
            self.transport.write(head + end)
        self.transport.close()
