"""Readers of wanted columns from Parquet files and from folders of `Dataset.save_to_disk`, with class names decoded.

The `datasets` library stores ClassLabel columns as numbers. The number alone has no meaning: 0 is `unsafe` in one set
and `safe` in another. These readers replace each number by its class name.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from safechain_ray.datasets.records import BrokenFileError, BrokenText
from safechain_ray.datasets.unpacking import check_arrow
from safechain_ray.storage import checked_name
from safechain_ray.types.tables import plain_columns

METADATA_KEY = b"huggingface"
"""Key of a schema's metadata with the features as JSON: {"info": {"features": {...}}}."""

Names = Mapping[str, tuple[str, ...]]

Rows = tuple[tuple[str, ...], list[Mapping[str, object]]]


def names_in_metadata(metadata: Mapping[bytes, bytes] | None) -> Names:
    """Class names of each column that the metadata of an Arrow schema declares as ClassLabel."""
    try:
        stored: Any = json.loads((metadata or {}).get(METADATA_KEY, b"{}"))
        return class_names(stored["info"]["features"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def class_names(features: Mapping[str, Any] | None) -> Names:
    """Class names of each ClassLabel, or list of ClassLabels, in `features` as `Features.to_dict` returns them."""
    found = {column: _names(feature) for column, feature in (features or {}).items()}
    return {column: names for column, names in found.items() if names}


def with_class_names(rows: Iterable[Mapping[str, object]], names: Names) -> list[Mapping[str, object]]:
    """Rows with class numbers replaced by class names; -1 (no label) becomes None.

    A number is recognised in every form that table libraries write: `1`, `1.0` and ` 1` are class 1.

    Raises:
        BrokenFileError: a value is neither a class name nor a class number.

    Example:
        >>> with_class_names([{"label": 0.0}, {"label": " 1"}], {"label": ("unsafe", "safe")})
        [{'label': 'unsafe'}, {'label': 'safe'}]
    """
    if not names:
        return list(rows)
    known = {column: frozenset(each) for column, each in names.items()}
    return [
        {
            column: _named(value, column, names[column], known[column]) if column in names else value
            for column, value in row.items()
        }
        for row in rows
    ]


def _names(feature: Any) -> tuple[str, ...]:
    if isinstance(feature, Sequence) and not isinstance(feature, str) and len(feature) == 1:
        return _names(feature[0])
    if not isinstance(feature, Mapping):
        return ()
    if feature.get("_type") == "ClassLabel":
        return tuple(map(str, feature.get("names") or ()))
    return _names(feature.get("feature")) if feature.get("_type") in ("Sequence", "List", "LargeList") else ()


def _named(value: object, column: str, names: tuple[str, ...], known: Collection[str]) -> object:
    if isinstance(value, list):
        return [_named(each, column, names, known) for each in value]
    if value is None or (isinstance(value, str) and value in known):
        return value
    if value != value:  # NaN is a missing value in a column of floats
        return None
    word = re.sub(r"^([-+]?\d+)\.0*$", r"\1", str(value).strip())
    if not word:
        return None
    if isinstance(value, str) and word in known:
        return word
    number = int(word) if re.fullmatch(r"[-+]?[0-9]{1,9}", word) else len(names)
    if isinstance(value, bool) or number not in range(-1, len(names)):
        raise BrokenFileError(
            f"the column {column!r} holds {str(value)[:40]!r}, which is neither a class number from 0 to "
            f"{len(names) - 1} nor a class name ({', '.join(names[:10])}). Fix: correct the value, or the class names "
            "of the column in the set's features"
        )
    return None if number == -1 else names[number]


def parse_parquet(data: bytes | Path, wanted: Collection[str] | None, names: Names | None = None) -> Rows:
    """The column names and rows of a Parquet file, from its bytes or its local path.

    Class numbers become class names: those of `names`, or else of the file's metadata. Only wanted columns are read, so
    the others may have any type.

    Raises:
        BrokenFileError: the file can't be read.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(data) if isinstance(data, bytes) else data) as file:
            schema = file.schema_arrow
            chosen = _chosen(schema.names, wanted)
            check_arrow(data, chosen, "parquet")
            table = file.read(columns=chosen) if chosen else pa.table({})
            size = file.metadata.num_rows
        return tuple(schema.names), _rows(table, chosen, size, {**names_in_metadata(schema.metadata), **(names or {})})
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BrokenFileError(f"it is no complete Parquet file ({error})") from error


def parquet_batches(file: Path, wanted: Collection[str] | None, batch_rows: int) -> Iterator[Rows]:
    """The column names and rows of a local Parquet file, in batches of up to `batch_rows`. Raises BrokenFileError."""
    try:
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            schema = parquet.schema_arrow
            chosen = _chosen(schema.names, wanted)
            check_arrow(file, chosen, "parquet")
            names = names_in_metadata(schema.metadata)
            for batch in parquet.iter_batches(batch_rows, columns=chosen):
                table = pa.Table.from_batches([batch])
                yield tuple(schema.names), _rows(table, chosen, batch.num_rows, names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BrokenFileError(f"it is no complete Parquet file ({error})") from error


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote the folder."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def saved_splits(folder: Path) -> tuple[str, ...]:
    """Splits of a folder written by `DatasetDict.save_to_disk`; empty for any other folder.

    Raises:
        BrokenFileError: the folder's description names no splits, or one that leads out of the folder.
    """
    described = folder / "dataset_dict.json"
    if not described.is_file():
        return ()
    splits = _json_of(described).get("splits")
    if not isinstance(splits, list):
        raise BrokenFileError(f"its {described.name} names no splits")
    try:
        return tuple(checked_name(str(split)) for split in splits)
    except ValueError as error:
        raise BrokenFileError(f"in its {described.name} {error}") from error


def saved_as(folder: Path) -> str | None:
    """The split recorded by `Dataset.save_to_disk`, if any."""
    split = _json_of(folder / "state.json").get("_split")
    return split if isinstance(split, str) else None


def read_saved(folder: Path, wanted: Collection[str] | None) -> Rows:
    """The column names and rows of a folder written by `Dataset.save_to_disk`. Raises BrokenFileError."""
    try:
        state, info = _json_of(folder / "state.json"), _json_of(folder / "dataset_info.json")
        files = [folder / Path(file["filename"]).name for file in state["_data_files"]]
        names = class_names(info.get("features"))
        columns: dict[str, None] = dict.fromkeys(info.get("features") or ())
        rows: list[Mapping[str, object]] = []
        for file in files:
            if file.exists() and not file.is_file():  # opening a pipe blocks
                raise BrokenFileError(f"its {file.name} is not a file")
            check_arrow(file, wanted, "arrow")
            with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as reader:
                columns.update(dict.fromkeys(reader.schema.names))
                chosen = _chosen(reader.schema.names, wanted)
                for batch in reader:
                    _check_buffers(batch, chosen)
                    table = pa.Table.from_batches([batch]).select(chosen)
                    rows += _rows(table, chosen, batch.num_rows, {**names_in_metadata(reader.schema.metadata), **names})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        raise BrokenFileError(f"it is no complete folder of Dataset.save_to_disk ({error})") from error
    return tuple(columns), rows


def _check_buffers(batch: pa.RecordBatch, chosen: list[str]) -> None:
    """Raises ArrowInvalid for offsets outside the buffers: reading such a value would crash the process.

    Text columns are validated as bytes, because a text that is not UTF-8 invalidates its row only.
    """
    as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    for name in chosen:
        column = batch.column(name)
        column.view(as_bytes.get(column.type, column.type)).validate(full=True)


def _json_of(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenFileError(f"its {file.name} can't be read ({error})") from error
    if not isinstance(found, dict):
        raise BrokenFileError(f"its {file.name} is no JSON object")
    return found


def plain_rows(table: pa.Table, names: Names) -> list[Mapping[str, object]]:
    """The rows of a table with class names. Raises ArrowInvalid for columns of Python objects."""
    return _rows(table, table.column_names, table.num_rows, names)


def _chosen(columns: Iterable[str], wanted: Collection[str] | None) -> list[str]:
    """The columns to read. Raises BrokenFileError for a repeated name."""
    chosen = [name for name in columns if wanted is None or name in wanted]
    repeated = sorted(name for name, times in Counter(chosen).items() if times > 1)
    if repeated:
        raise BrokenFileError(f"two columns have the same name ({', '.join(repeated)}). Fix: rename one of them")
    return chosen


def _rows(table: pa.Table, chosen: list[str], size: int, names: Names) -> list[Mapping[str, object]]:
    columns = {name: _values(plain_columns(table.select([name]))[name]) for name in chosen}
    if not columns:
        return [{} for _ in range(size)]
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return with_class_names(rows, {name: names[name] for name in chosen if name in names})


def _values(column: pa.ChunkedArray) -> list[object]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return [_decoded(value) for value in column.to_pylist()]
    if isinstance(kind, pa.UuidType):
        return [str(value) if isinstance(value, UUID) else value for value in column.to_pylist()]
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:  # the writer did not validate its texts
        values = [_decoded(value) for value in column.cast(pa.large_binary()).to_pylist()]
    return values


def _decoded(value: object) -> object:
    """Bytes as text: writers without Parquet's text annotation store texts as bytes."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return BrokenText(value.decode("utf-8", "replace"), "holds bytes that are not UTF-8 text")
