"""Disk errors of a training as StorageError: a full disk or a missing permission, found inside torch's exceptions."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage

from torch.distributed.checkpoint.api import CheckpointException

from safechain_ray.errors import SafechainError, StorageError

FULL_BYTES = 2**20
"""With less free space the disk counts as full: torch and safetensors report that in errors of their own."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

NO_RIGHT = {errno.EACCES, errno.EROFS}


@contextmanager
def disk_errors_as_storage_errors(folder: Path) -> Iterator[None]:
    """Raise StorageError where `folder` can't be written (no space, no permission); all other errors pass unchanged.

    torch collects the errors of all processes in a CheckpointException, which is no Exception. The error of one failed
    process is raised instead of it.
    """
    try:
        yield
    except (Exception, CheckpointException) as error:
        cause = _cause(error)
        if (disk_error := _disk_error(cause, folder)) is not None:
            raise disk_error from error
        if cause is not error:
            raise cause from error
        raise


def _cause(error: BaseException) -> BaseException:
    """The error of one failed process.

    A disk error comes first: the errors of the other processes may follow from it.
    """
    if not isinstance(error, CheckpointException):
        return error
    failures = [failure for failure, _ in error.failures.values()]
    return next((failure for failure in failures if _number(failure) in NO_ROOM | NO_RIGHT), failures[0])


def _disk_error(error: BaseException, folder: Path) -> StorageError | None:
    """The StorageError for a disk error; None for other errors, such as the OSError of a failed connection to a hub."""
    if isinstance(error, SafechainError):
        return None
    number = _number(error)
    if number in NO_RIGHT:
        return _storage_error(folder, error, "give this user write permission there")
    if number in NO_ROOM or disk_usage(folder).free < FULL_BYTES:
        reason = error if number in NO_ROOM else os.strerror(errno.ENOSPC)
        return _storage_error(folder, reason, "free some space there")
    return None


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _storage_error(folder: Path, reason: object, fix: str) -> StorageError:
    return StorageError(
        f"Training stopped: {folder} can't be written ({reason}). Fix: {fix}, then rerun the command to resume from "
        "the last complete checkpoint."
    )
