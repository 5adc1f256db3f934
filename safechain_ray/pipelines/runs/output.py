"""The folder that a driver works in: shown to be writable, waited for when its store is silent, and held by it."""

from collections.abc import Iterator
from contextlib import contextmanager

from safechain_ray.config import ClusterConfig
from safechain_ray.pipelines.runs.observer import Speaker
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.storage import Patience, Silence, hold, open_folder


@contextmanager
def held_output(uri: str, resources: ClusterConfig, observer: Speaker) -> Iterator[RunFolder]:
    """The folder at `uri`, held by this driver's lease for the length of a block.

    Raises StorageError where it can't be written, OutputHeldError where another driver is at work in it; inside the
    block any change raises that, should another have taken this one's place.
    """
    seconds = resources.storage_patience_minutes * 60
    folder = open_folder(uri, Patience(seconds, Silence(observer.say, seconds)))
    folder.check_writable()
    with hold(folder, observer.say) as held:
        yield RunFolder(held)
