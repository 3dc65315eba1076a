"""An uploaded file between its preview and its import, kept for the one person who sent it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from django.core import signing
from import_export.tmp_storages import TempFolderStorage

PREFIX = "evalsuite-import-"
KEPT_S = 3600


class KeptUpload(TempFolderStorage):  # type: ignore[misc]
    """In the folder for temporary files, readable by this account of the system alone."""

    def save(self, data: bytes) -> None:
        self.keep([data])

    def keep(self, pieces: Iterable[bytes]) -> None:
        _remove_old()
        handle, path = tempfile.mkstemp(prefix=PREFIX)
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
        self.name = Path(path).name

    def open(self) -> BinaryIO:
        return Path(self.get_full_path()).open("rb")

    def read(self) -> bytes:
        """As bytes: the formats tell of a bad encoding, and line ends inside a cell stay as they are."""
        return Path(self.get_full_path()).read_bytes()

    def exists(self) -> bool:
        return Path(self.get_full_path()).is_file()

    def remove(self) -> None:
        Path(self.get_full_path()).unlink(missing_ok=True)


def ticket(user_id: Any, *, name: str, kind: str, experiment_id: Any) -> str:
    """What a browser brings back to confirm: it can name no other file, format or experiment."""
    facts = {"name": name, "kind": kind, "experiment": str(experiment_id)}
    return signing.dumps(facts, salt=f"{PREFIX}{user_id}")


def read_ticket(user_id: Any, text: str) -> dict[str, str]:
    """Raises signing.BadSignature for a ticket that is too old or another person's."""
    facts: dict[str, str] = signing.loads(text, salt=f"{PREFIX}{user_id}", max_age=KEPT_S)
    return facts


def _remove_old() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if path.stat().st_mtime < time.time() - KEPT_S:
                path.unlink()
        except OSError:  # another process was faster, or another account's file
            continue
