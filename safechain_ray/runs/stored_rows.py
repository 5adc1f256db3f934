"""Rows of a run's folder, read with their schema: a file that does not fit is refused by name, with the fix."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.config.study import PIECE_COUNTS
from safechain_ray.errors import StorageError, StoreSilentError
from safechain_ray.storage import Folder
from safechain_ray.types import PIECES_SCHEMA, VERDICTS_SCHEMA, conformed
from safechain_ray.types.graded import GRADED_SCHEMA

AGAIN = "Fix: {command}: it moves the file to _broken/ beside it and does its rows again."

SAMPLES_FIX = AGAIN.format(command="run the run's own command again")

VERDICTS_FIX = AGAIN.format(command="run `safechain-ray judge RUN --judge {judge}` with the same --part as before")

PIECES_FIX = AGAIN.format(command="run `safechain-ray judge RUN --judge {judge} --pieces N` with the same N as before")


def read_samples(folder: Folder, name: str, columns: Sequence[str]) -> pa.Table:
    """These columns of a file of samples, graded ones or not. Raises StorageError."""
    return _read(folder, name, pa.schema([GRADED_SCHEMA.field(column) for column in columns]), SAMPLES_FIX)


def read_verdicts(folder: Folder, name: str) -> pa.Table:
    """A file of verdicts that were added to a run. Raises StorageError."""
    return _read(folder, name, VERDICTS_SCHEMA, VERDICTS_FIX.format(judge=_judge_of(folder)))


def read_pieces(folder: Folder, name: str, columns: Sequence[str]) -> pa.Table:
    """These columns of a file of verdicts on growing pieces of thoughts. Raises StorageError."""
    fix = PIECES_FIX.format(judge=_judge_of(folder))
    table = _read(folder, name, pa.schema([PIECES_SCHEMA.field(column) for column in columns]), fix)
    if "pieces" in columns and not all(count in PIECE_COUNTS for count in pc.unique(table["pieces"]).to_pylist()):
        raise StorageError(
            f"{folder}/{name} holds thoughts in fewer than {PIECE_COUNTS.start} or more than {PIECE_COUNTS.stop - 1} "
            f"pieces. {fix}"
        )
    return table


def _read(folder: Folder, name: str, schema: pa.Schema, fix: str) -> pa.Table:
    try:
        table = folder.read_parquet(name, schema.names)
        return conformed(table, schema)
    except pa.ArrowException as error:
        raise StorageError(f"{folder}/{name} holds no rows of this kind: {error}. {fix}") from error
    except StoreSilentError:
        raise
    except StorageError as error:
        raise StorageError(f"{error} {fix}" if _is_torn(error.__cause__) else str(error)) from error


def _judge_of(folder: Folder) -> str:
    """The judge whose verdicts the folder `RUN/verdicts/JUDGE` or `RUN/pieces/JUDGE` has."""
    return PurePosixPath(folder.path).name


def _is_torn(cause: BaseException | None) -> bool:
    """Whether the bytes are there and are no Parquet: the system's own errors have a number."""
    return isinstance(cause, pa.ArrowException) or (isinstance(cause, OSError) and cause.errno is None)
