"""The folder that a driver works in: shown to be writable, waited for when its store is silent, and held by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safechain_ray.config import ClusterConfig
from safechain_ray.errors import InputError
from safechain_ray.runs.file_index import ASIDE
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.progress import Speaker
from safechain_ray.storage import Folder, Patience, Silence, hold, open_folder

OF_ROWS = ("samples", "preferences", "verdicts", "pieces", "stages", "progress")
"""Folders of a run in which files are moved, rewritten and deleted."""


@contextmanager
def held_output(uri: str, resources: ClusterConfig, observer: Speaker) -> Iterator[RunFolder]:
    """The folder at `uri`, held by this driver's lease for the length of a block.

    Raises StorageError where it can't be written, InputError where a folder in it is a link, and OutputHeldError where
    another driver is at work in it. Inside the block any change raises that, should another have taken this one's
    place.
    """
    seconds = resources.storage_patience_minutes * 60
    folder = open_folder(uri, Patience(seconds, Silence(observer.say, seconds)))
    folder.check_writable()
    _check_no_links(folder)
    with hold(folder, observer.say) as held:
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
