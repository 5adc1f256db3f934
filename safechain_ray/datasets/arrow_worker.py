"""Child process of `LimitedProcess` that measures the size of the values in a Parquet or Arrow file."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS = 128
"""Rows per batch. Few, because each row may contain a text of many megabytes."""


def answer(request: list[Any]) -> bool:
    """Whether the values of `columns` take at most `limit` bytes, with `each` added for every value."""
    path, kind, columns, limit, each = request
    batches = _parquet(path, columns, limit // each) if kind == "parquet" else _arrow(path, columns)
    weight = 0
    for rows, arrays in batches:
        weight += rows * each + sum(_weight(array, each) for array in arrays)
        if weight > limit:
            return False
    return True


def _parquet(path: str, columns: list[str] | None, most_rows: int) -> Iterator[tuple[int, list[pa.Array]]]:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        rows = file.metadata.num_rows
        yield rows, []
        if rows > most_rows or columns == []:
            return
        for batch in file.iter_batches(ROWS, columns=columns, use_threads=False):
            yield 0, batch.columns


def _arrow(path: str, columns: list[str] | None) -> Iterator[tuple[int, list[pa.Array]]]:
    with pa.memory_map(path) as mapped:
        for batch in _batches(mapped):
            for start in range(0, batch.num_rows, ROWS):
                part = batch.slice(start, ROWS)
                yield part.num_rows, _named(part, columns)


def _batches(mapped: pa.MemoryMappedFile) -> Iterator[pa.RecordBatch]:
    """The record batches in the stream format, or else in the file format, as `datasets` tries them."""
    try:
        stream = pa.ipc.open_stream(mapped)
    except pa.ArrowInvalid:
        file = pa.ipc.open_file(mapped)
        yield from map(file.get_batch, range(file.num_record_batches))
    else:
        yield from stream


def _named(batch: pa.RecordBatch, columns: list[str] | None) -> list[pa.Array]:
    named = zip(batch.schema.names, batch.columns, strict=True)
    return [array for name, array in named if columns is None or name in columns]


def _weight(array: pa.Array, each: int) -> int:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _weight(array.storage, each)
    if pa.types.is_dictionary(kind):
        return _weight(array.dictionary_decode(), each)
    if pa.types.is_run_end_encoded(kind):
        return _weight(pc.run_end_decode(array), each)
    own = len(array) * each
    if pa.types.is_struct(kind):
        return own + sum(_weight(part, each) for part in array.flatten())
    if pa.types.is_map(kind):
        return own + _weight(array.keys, each) + _weight(array.items, each)
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        return own + _weight(array.flatten(), each)
    if kind in (pa.string_view(), pa.binary_view()):
        # Rows may share one value in the buffers, but a reader copies it for every row. A view has sixteen bytes; the
        # first four are its length.
        views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
        return own + int(views[array.offset : array.offset + len(array), 0].sum(dtype=np.int64))
    try:
        return own + (pc.sum(pc.binary_length(array)).as_py() or 0)
    except pa.ArrowNotImplementedError:  # no text
        return own + int(array.nbytes)
