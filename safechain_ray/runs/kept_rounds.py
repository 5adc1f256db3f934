"""Rounds of responses that are not finished, in the run's folder: so they outlive the driver as well."""

import time
from contextlib import suppress
from typing import Any

import ray
from pydantic import TypeAdapter, ValidationError
from ray.exceptions import GetTimeoutError

from safechain_ray.storage import Folder

FILE = "progress/rounds.json"
NOTE_SECONDS = 30.0
ANSWER_SECONDS = 10.0
MOST_CHARACTERS = 16 * 2**20
"""So much is worth its way every half minute. Of the rows in flight of many replicas only the longest are kept then."""

_KEPT = TypeAdapter(dict[str, dict[str, str | int | bool | None]])


class KeptRounds:
    """What a run's ledger keeps of unfinished rows, written now and then, and read by the next try."""

    def __init__(self, folder: Folder, ledger: Any) -> None:
        self._folder = folder
        self._ledger = ledger
        self._noted = time.monotonic()
        self._written = b""

    def restore(self) -> None:
        """Give the ledger what an earlier try left. A file that does not read is as good as none."""
        if not self._folder.exists(FILE):
            return
        self._written = self._folder.read_bytes(FILE)
        with suppress(ValidationError):
            self._ledger.restore.remote(_KEPT.validate_json(self._written))

    def note(self) -> None:
        """Write what is kept, if it is time to."""
        if time.monotonic() - self._noted < NOTE_SECONDS:
            return
        self._noted = time.monotonic()
        with suppress(GetTimeoutError):
            kept = _KEPT.dump_json(ray.get(self._ledger.longest_kept.remote(MOST_CHARACTERS), timeout=ANSWER_SECONDS))
            if kept != self._written and (self._written or kept != b"{}"):
                self._folder.write_bytes(FILE, kept)
                self._written = kept


def forget_rounds(folder: Folder) -> None:
    """The run is complete."""
    if folder.exists("progress"):
        folder.delete_folder("progress")
