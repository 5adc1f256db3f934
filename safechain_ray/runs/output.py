"""The folder that a driver works in: shown to be writable, waited for when its store is silent, and held by it.

A record at the top of an output, by whose identity the folder is known to be of this work or of another.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from safechain_ray.config import ClusterConfig
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.runs.file_index import ASIDE
from safechain_ray.runs.folder import RunFolder, differences
from safechain_ray.runs.identity import explained
from safechain_ray.runs.progress import Reporter
from safechain_ray.storage import Folder, OutageState, RetryPolicy, acquire_lease, open_folder, read_checked_tree

OF_ROWS = ("samples", "preferences", "verdicts", "pieces", "stages", "progress")

"""Folders of a run in which files are moved, rewritten and deleted."""


@contextmanager
def lock_output(uri: str, resources: ClusterConfig, reporter: Reporter) -> Iterator[RunFolder]:
    """The folder at `uri`, held by this driver's lease for the length of a block.

    Raises StorageError where it can't be written, InputError where a folder in it is a link, and OutputLockedError
    where another driver is running in it. Inside the block every write raises that once another driver owns the lease.
    """
    seconds = resources.storage_patience_minutes * 60
    folder = open_folder(uri, RetryPolicy(seconds, OutageState(reporter.report, seconds)))
    folder.check_writable()
    _check_no_links(folder)
    with acquire_lease(folder, reporter.report) as held:
        yield RunFolder(held)


def _check_no_links(folder: Folder) -> None:
    """Rows are moved and rewritten in these folders: a link in a run of somebody else would lead to other files."""
    if not folder.is_local:
        return
    root = Path(folder.path)
    folders = [root / name for name in OF_ROWS]
    below = [each for name in ("verdicts", "pieces", "stages") for each in (root / name).glob("*")]
    for place in (*folders, *below, *(folder / ASIDE for folder in (*folders, *below))):
        if place.is_symlink():
            raise InputError(f"{place} is a link, and rows are only written in real folders. Fix: replace the link.")


class _Identified(BaseModel):
    identity: dict[str, Any]


def stored_record(folder: Folder, name: str, identity: Mapping[str, Any], what: str, fix: str) -> dict[str, Any] | None:
    """The JSON record `name` of `folder`; None where there is none yet. `what` says of what it is ("data set").

    Raises InputError for a file that is no such record, RunConflictError, with the difference and the `fix`, for the
    record of another identity.
    """
    if not folder.exists(name):
        return None
    stored = read_checked_tree(folder, name, _Identified, f"record of a {what}", "give another --output.")
    if found := differences(stored["identity"], identity):
        raise RunConflictError(
            f"{folder} holds another {what}. What differs (there -> here):\n{explained(found)}\n{fix}"
        )
    return stored
