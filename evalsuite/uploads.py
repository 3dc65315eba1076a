"""How large an upload may be, checked while it comes in."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

UPLOAD_MAX = 25 * 1024 * 1024  # bytes of a file
FORM_MAX = UPLOAD_MAX + 1024 * 1024  # with the fields and boundaries around it


class BoundedUpload(FileUploadHandler):
    """The first of the handlers: what is too large is refused before another one keeps it."""

    def handle_raw_input(self, input_data: Any, META: Any, content_length: int, *args: Any) -> None:
        if content_length > FORM_MAX:
            raise RequestDataTooBig("The upload is too large.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        if start + len(raw_data) > FORM_MAX:
            raise RequestDataTooBig("The upload is too large.")
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """The next handler makes the file."""
