"""The rows that are published: samples and verdicts with the texts that may be, in files of bounded size."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.sharing.published import Cleaner, changed_texts, without_place
from safechain_ray.types import NO_FAILURE, SAMPLES_SCHEMA, VERDICTS_SCHEMA

Include = Literal["texts", "verdicts", "figures"]
"""`texts`: samples with prompts and responses. `verdicts`: samples without texts. `figures`: no samples."""

FILE_BYTES = 64 * 2**20
"""Size in memory of the rows of one published file."""

RESPONSE_TEXTS = ("thought", "answer", "response")

WITHHELD = "not published"
"""Replaces an error or a note that may quote a text, so that the sample or verdict still has a reason."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is published of the rows. The prompts of the data sets `withheld` are left out."""

    include: Include = "texts"
    withheld: frozenset[str] = frozenset()


def published_samples(table: pa.Table, contents: Contents, cleaner: Cleaner) -> pa.Table:
    """Rows of `SAMPLES_SCHEMA` as they are published. Texts that are left out are empty, or null where they may be."""
    table = _with(table, "model", changed_texts(table["model"], without_place))
    if contents.include == "texts":
        is_withheld = pc.is_in(table["dataset"], pa.array(sorted(contents.withheld), pa.string()))
        table = _with(table, "prompt", pc.if_else(is_withheld, "", table["prompt"]))
        for name in ("prompt", "prefill", "error", *RESPONSE_TEXTS):
            table = _with(table, name, cleaner.column(table[name]))
        return _with_changed_verdicts(table, cleaner.column, cleaner.column) if cleaner.values else table
    for name in ("prompt", "prefill"):
        table = _with(table, name, pa.chunked_array([pa.array([""] * table.num_rows, pa.string())]))
    for name in RESPONSE_TEXTS:
        table = _with(table, name, pa.chunked_array([pa.nulls(table.num_rows, pa.string())]))
    table = _with(table, "error", _withheld(table["error"]))
    return _with_changed_verdicts(table, _withheld_errors, _withheld)


def published_verdicts(table: pa.Table, contents: Contents, cleaner: Cleaner) -> pa.Table:
    """Rows of `VERDICTS_SCHEMA` as they are published."""
    texts = contents.include == "texts"
    error = cleaner.column(table["error"]) if texts else _withheld_errors(table["error"])
    note = cleaner.column(table["note"]) if texts else _withheld(table["note"])
    return _with(_with(table, "error", error, VERDICTS_SCHEMA), "note", note, VERDICTS_SCHEMA)


def of_file_size(tables: Iterable[pa.Table], size: int = FILE_BYTES) -> Iterator[pa.Table]:
    """The rows of `tables` in tables of about `size` bytes. A run that has not ended has many small files."""
    held: list[pa.Table] = []
    held_bytes = 0
    for table in tables:
        held.append(table)
        held_bytes += table.nbytes
        if held_bytes >= size:
            yield pa.concat_tables(held)
            held, held_bytes = [], 0
    if held:
        yield pa.concat_tables(held)


Change = Callable[[pa.ChunkedArray], pa.ChunkedArray]


def _with_changed_verdicts(table: pa.Table, errors: Change, notes: Change) -> pa.Table:
    """The samples with the errors and notes of their verdicts changed."""
    lists = table["verdicts"].combine_chunks()
    verdicts = lists.values
    changes = {"error": errors, "note": notes}
    columns = []
    for field in verdicts.type:
        values = pc.struct_field(verdicts, field.name)
        change = changes.get(field.name)
        columns.append(values if change is None else change(pa.chunked_array([values])).combine_chunks())
    changed = pa.StructArray.from_arrays(columns, fields=list(verdicts.type))
    return _with(table, "verdicts", pa.chunked_array([pa.ListArray.from_arrays(lists.offsets, changed)]))


def _withheld(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return changed_texts(column, lambda text: WITHHELD)


def _withheld_errors(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Errors of verdicts: those that say that there was nothing to judge are kept, as figures depend on them."""
    is_no_failure = pc.match_substring_regex(column, NO_FAILURE)
    return pc.if_else(pc.fill_null(is_no_failure, False), column, _withheld(column))


def _with(table: pa.Table, name: str, column: pa.ChunkedArray, schema: pa.Schema = SAMPLES_SCHEMA) -> pa.Table:
    field = schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, column.cast(field.type))
