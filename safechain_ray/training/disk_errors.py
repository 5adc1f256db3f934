"""Why the files of a training can't be written: a full disk or a missing right, found in what torch makes of it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage

from torch.distributed.checkpoint.api import CheckpointException

from safechain_ray.errors import SafechainError, StorageError

FULL_BYTES = 2**20
"""Where less is free, the disk is full: torch and safetensors tell that in errors of their own."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

NO_RIGHT = {errno.EACCES, errno.EROFS}


@contextmanager
def disk_trouble_told(folder: Path) -> Iterator[None]:
    """Raises StorageError for what only a person can fix where `folder` can't be written, all else as it is.

    Of what the processes together say of shards (to torch no Exception), the error of one that failed is raised.
    """
    try:
        yield
    except (Exception, CheckpointException) as error:
        cause = _cause(error)
        if (trouble := _trouble(cause, folder)) is not None:
            raise trouble from error
        if cause is not error:
            raise cause from error
        raise


def _cause(error: BaseException) -> BaseException:
    """A disk that refuses comes first: the others' errors may follow from it."""
    if not isinstance(error, CheckpointException):
        return error
    failures = [failure for failure, _ in error.failures.values()]
    return next((failure for failure in failures if _number(failure) in NO_ROOM | NO_RIGHT), failures[0])


def _trouble(error: BaseException, folder: Path) -> StorageError | None:
    """None for many an OSError too: a hub's or a tracker's connection fails with one."""
    if isinstance(error, SafechainError):
        return None
    number = _number(error)
    if number in NO_RIGHT:
        return _told(folder, error, "Give this user the right to write there")
    if number in NO_ROOM or disk_usage(folder).free < FULL_BYTES:
        reason = error if number in NO_ROOM else os.strerror(errno.ENOSPC)
        return _told(folder, reason, "Make room there")
    return None


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _told(folder: Path, reason: object, fix: str) -> StorageError:
    return StorageError(
        f"Training stopped: {folder} can't be written ({reason}). {fix}; the same command goes on from the last whole "
        "checkpoint."
    )
