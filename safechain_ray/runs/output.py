"""The output folder of a driver: checked to be writable, locked by a lease, and refused if its record is another's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from safechain_ray.config import ClusterConfig
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.runs.file_index import QUARANTINE
from safechain_ray.runs.folder import RunFolder, differences
from safechain_ray.runs.identity import explained
from safechain_ray.runs.progress import Reporter
from safechain_ray.storage import Folder, OutageState, RetryPolicy, acquire_lease, open_folder, read_record
from safechain_ray.storage.records import Identified

Record = TypeVar("Record", bound=Identified)

OF_ROWS = ("samples", "preferences", "verdicts", "pieces", "stages", "progress")
"""Folders of a run in which files are moved, rewritten and deleted."""


@contextmanager
def lock_output(uri: str, resources: ClusterConfig, reporter: Reporter) -> Iterator[RunFolder]:
    """Lock the folder at `uri` by a lease of this driver for the length of a block.

    Raises:
        StorageError: The folder can't be written.
        InputError: A folder in it is a link.
        OutputLockedError: Another driver has the lease. Any change inside the block raises it too, once another driver
            has taken over the lease.
    """
    seconds = resources.storage_patience_minutes * 60
    folder = open_folder(uri, RetryPolicy(seconds, OutageState(reporter.report, seconds)))
    folder.check_writable()
    _check_no_links(folder)
    with acquire_lease(folder, reporter.report) as locked:
        yield RunFolder(locked)


def _check_no_links(folder: Folder) -> None:
    """Raises InputError for a link: rows are moved and rewritten, and a link in a foreign run leads to other files."""
    if not folder.is_local:
        return
    root = Path(folder.path)
    folders = [root / name for name in OF_ROWS]
    below = [each for name in ("verdicts", "pieces", "stages") for each in (root / name).glob("*")]
    for path in (*folders, *below, *(folder / QUARANTINE for folder in (*folders, *below))):
        if path.is_symlink():
            raise InputError(f"{path} is a link, and rows are only written in real folders. Fix: replace the link.")


def read_identified(
    folder: Folder, name: str, kind: type[Record], identity: Mapping[str, Any], what: str, fix: str
) -> Record | None:
    """The record `name` of `folder`; None where there is none yet. `what` names its subject ("data set").

    Raises InputError for a file that is no such record, and RunConflictError, with the difference and the `fix`, for
    the record of another identity.
    """
    if not folder.exists(name):
        return None
    stored = read_record(folder, name, kind, f"record of a {what}", "give another --output.")
    if found := differences(stored.identity, identity):
        raise RunConflictError(
            f"{folder} holds another {what}. What differs (there -> here):\n{explained(found)}\n{fix}"
        )
    return stored
