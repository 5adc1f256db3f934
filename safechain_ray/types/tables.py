"""The Arrow schemas of what a run writes, and records from and to tables.

Refuses Arrow columns of Python objects, because reading one can run any code that its writer put there.

Samples of a benchmark: those of any run, each with its grade.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.types.samples import Sample, Verdict
from safechain_ray.types.thinking import well_formed_tree
from safechain_ray.types.words import Outcome, Part

VERDICT_TYPE = pa.struct(
    [
        pa.field("judge", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("unsafe", pa.bool_()),
        pa.field("score", pa.float64()),
        pa.field("categories", pa.list_(pa.string())),
        pa.field("error", pa.string()),
        pa.field("note", pa.string()),
    ]
)

SAMPLES_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("setting_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("strategy", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("temperature", pa.float64(), nullable=False),
        pa.field("top_p", pa.float64(), nullable=False),
        pa.field("top_k", pa.int32(), nullable=False),
        pa.field("max_tokens", pa.int32(), nullable=False),
        pa.field("seed", pa.int64()),
        pa.field("thought", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("response", pa.string()),
        pa.field("prefill", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("error", pa.string()),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("thought_tokens", pa.int32()),
        pa.field("answer_tokens", pa.int32()),
        pa.field("forced_rounds", pa.int32(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("verdicts", pa.list_(VERDICT_TYPE), nullable=False),
    ]
)

"""The columns of `samples/*.parquet`, one row a `Sample`."""

_SAMPLE_OF_A_VERDICT = ("sample_id", "setting_id", "prompt_id")

VERDICTS_SCHEMA = pa.schema([*(SAMPLES_SCHEMA.field(name) for name in _SAMPLE_OF_A_VERDICT), *VERDICT_TYPE])

"""The columns of `verdicts/<judge>/*.parquet`, one row a verdict that was added to a finished run."""

_PLACE_OF_A_PIECE = ("pieces", "piece", "end", "characters")

PIECES_SCHEMA = pa.schema(
    [
        *(SAMPLES_SCHEMA.field(name) for name in _SAMPLE_OF_A_VERDICT),
        *(pa.field(name, pa.int32(), nullable=False) for name in _PLACE_OF_A_PIECE),
        *(field for field in VERDICT_TYPE if field.name != "part"),
    ]
)

"""The columns of `pieces/<judge>/*.parquet`, one row a verdict on a beginning of a thought.

`pieces` were asked for, this is number `piece`, from 1; it ends at character `end` of the thought's `characters`.
"""

WORDS: Mapping[str, frozenset[str]] = {"outcome": frozenset(get_args(Outcome)), "part": frozenset(get_args(Part))}

"""The values of columns of samples and verdicts that are words of a closed list."""


def arrow_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """`values` as Arrow has them, with each half of a surrogate pair in a text replaced by U+FFFD.

    Models, judges and graders all quote foreign text. One text that UTF-8 can't store would fail the whole block.
    """
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array(well_formed_tree(values), kind)


def samples_table(samples: Sequence[Sample]) -> pa.Table:
    """The samples as an Arrow table of `SAMPLES_SCHEMA`."""
    columns = {name: [getattr(sample, name) for sample in samples] for name in SAMPLES_SCHEMA.names}
    columns["verdicts"] = [[_verdict_row(verdict) for verdict in verdicts] for verdicts in columns["verdicts"]]
    return pa.table(
        {field.name: arrow_array(columns[field.name], field.type) for field in SAMPLES_SCHEMA}, SAMPLES_SCHEMA
    )


def samples_from_table(table: pa.Table) -> list[Sample]:
    """The rows of a table of `SAMPLES_SCHEMA` as records."""
    columns = {name: table.column(name).to_pylist() for name in SAMPLES_SCHEMA.names}
    columns["verdicts"] = [tuple(map(_verdict, verdicts)) for verdicts in columns["verdicts"]]
    # By position: the fields of `Sample` stand in the order of the schema, and a mapping a row takes twice the time.
    return [Sample(*row) for row in zip(*columns.values(), strict=True)]


def with_verdicts(table: pa.Table, verdicts: Sequence[Iterable[Verdict]]) -> pa.Table:
    """The table with `verdicts[i]` put behind those that row i holds already."""
    place = table.schema.get_field_index("verdicts")
    rows = [
        [*held, *(_verdict_row(verdict) for verdict in new)]
        for held, new in zip(table.column(place).to_pylist(), verdicts, strict=True)
    ]
    return table.set_column(place, SAMPLES_SCHEMA.field("verdicts"), arrow_array(rows, pa.list_(VERDICT_TYPE)))


def check_storable(record: Sample | Verdict) -> None:
    """Raises what Arrow raises for a value that a column can't hold.

    Called inside the error handling of one row, so that the value does not fail its block.
    """
    if isinstance(record, Sample):
        samples_table([record])
    else:
        arrow_array([_verdict_row(record)], VERDICT_TYPE)


def without_verdicts(table: pa.Table) -> pa.Table:
    """The samples as if no judge had seen them."""
    place = table.schema.get_field_index("verdicts")
    nothing: pa.Array = pa.array([[]] * table.num_rows, type=pa.list_(VERDICT_TYPE))
    return table.set_column(place, SAMPLES_SCHEMA.field("verdicts"), nothing)


def verdicts_table(table: pa.Table) -> pa.Table:
    """The verdicts in a table of `SAMPLES_SCHEMA`, one row each, as a table of `VERDICTS_SCHEMA`."""
    rows = pc.list_parent_indices(table["verdicts"])
    verdicts = pc.list_flatten(table["verdicts"])
    of_samples = [table[name].take(rows) for name in _SAMPLE_OF_A_VERDICT]
    of_verdicts = [pc.struct_field(verdicts, field.name) for field in VERDICT_TYPE]
    return pa.table([*of_samples, *of_verdicts], schema=VERDICTS_SCHEMA)


def as_samples(table: pa.Table) -> pa.Table:
    """`table` with the columns of `SAMPLES_SCHEMA` alone; what a file of an earlier version has not is null in it."""
    return table.select(SAMPLES_SCHEMA.names).cast(SAMPLES_SCHEMA)


def conformed(table: pa.Table, schema: pa.Schema, words: Mapping[str, frozenset[str]] = WORDS) -> pa.Table:
    """`table` with exactly this schema. Fields that older verdicts lack (`note`) become null.

    `words` are the allowed values of columns with a closed list.

    Raises:
        ArrowException: other columns or types, text that is not UTF-8, nulls in a required column, numbers that are
            not finite, or words that are not in `words`.
    """
    if table.schema.names != schema.names:
        raise pa.ArrowInvalid(f"its columns are {', '.join(table.schema.names) or 'none'}")
    for found, expected in zip(table.schema, schema, strict=True):
        if not _alike(found.type, expected.type):
            raise pa.ArrowInvalid(f"column {found.name} is of another type, {found.type}")
        if not expected.nullable and table[found.name].null_count:
            raise pa.ArrowInvalid(f"column {found.name} has missing values")
    table.validate(full=True)
    for field in schema:
        _check_values(field.name, table[field.name], words)
    return table.cast(schema)


def _check_values(name: str, values: pa.ChunkedArray | pa.Array, words: Mapping[str, frozenset[str]]) -> None:
    """Raises ArrowInvalid for numbers that are not finite and for words outside of their closed list."""
    if pa.types.is_list(values.type):
        _check_values(name, pc.list_flatten(values), words)
    elif pa.types.is_struct(values.type):
        for field in values.type:
            _check_values(field.name, pc.struct_field(values, field.name), words)
    elif pa.types.is_floating(values.type):
        if not pc.all(pc.is_finite(values), min_count=0).as_py():
            raise pa.ArrowInvalid(f"column {name} has a number that is not finite")
    elif name in words and (unknown := set(pc.unique(values).to_pylist()) - words[name]):
        raise pa.ArrowInvalid(f"column {name} has the unknown value {str(min(unknown, key=str))[:40]!r}")


def _alike(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_list(expected):
        return pa.types.is_list(found) and _alike(found.value_type, expected.value_type)
    if pa.types.is_struct(expected):
        known = {field.name: field.type for field in expected}
        return pa.types.is_struct(found) and all(
            field.name in known and _alike(field.type, known[field.name]) for field in found
        )
    alike = (pa.types.is_integer, pa.types.is_floating)
    return found == expected or any(is_kind(found) and is_kind(expected) for is_kind in alike)


def filter_by_ids(table: pa.Table, sample_ids: Iterable[str]) -> pa.Table:
    """The rows of `table` with these ids."""
    return table.filter(pc.is_in(table["sample_id"], value_set=pa.array(sample_ids, pa.string())))


_VERDICT_FIELDS = tuple(field.name for field in fields(Verdict))


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    # `dataclasses.asdict` copies every value deeply, at ten times the cost.
    return {name: getattr(verdict, name) for name in _VERDICT_FIELDS}


def _verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**row, "categories": tuple(row["categories"])})


def plain_columns(table: pa.Table) -> pa.Table:
    """The table itself. Raises ArrowInvalid where a column, at any depth, is of an extension type written in Python.

    Once Ray Data is imported, Arrow knows Ray's type for pickled objects by its name in the file, and `to_pylist`
    unpickles them. No column of this project, and none of a data set, needs such a type. Arrow's own extension types
    (JSON, UUID, bool8, tensors of a fixed shape) are C++ and hold plain values.
    """
    objects = [field.name for field in table.schema if holds_objects(field.type)]
    if objects:
        raise pa.ArrowInvalid(
            f"refused: reading the columns {', '.join(objects)} could run code that their writer chose"
        )
    return table


def holds_objects(kind: pa.DataType) -> bool:
    """Whether `kind` is, or holds at any depth, an extension type that Python code reads."""
    if isinstance(kind, pa.ExtensionType):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return holds_objects(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return holds_objects(kind.value_type)
    return any(holds_objects(kind.field(number).type) for number in range(kind.num_fields))


GRADE_TYPE = pa.struct(
    [
        pa.field("grader", pa.string(), nullable=False),
        pa.field("correct", pa.bool_()),
        pa.field("extracted", pa.string()),
        pa.field("error", pa.string()),
    ]
)

"""`correct` is null where there is no grade; `error` then says why. `extracted` is what was taken for the answer."""

GRADED_SCHEMA = SAMPLES_SCHEMA.append(pa.field("grade", GRADE_TYPE, nullable=False))

"""The columns of `samples/*.parquet` of a benchmark run: those of every run, and `grade`."""


def with_grades(table: pa.Table, grades: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Samples (of `SAMPLES_SCHEMA`) with one grade each, as a table of `GRADED_SCHEMA`."""
    return table.append_column(GRADED_SCHEMA.field("grade"), arrow_array(grades, GRADE_TYPE))


def without_grade(table: pa.Table) -> list[bool]:
    """Of each row of `GRADED_SCHEMA`, whether it has a response but no grade, as grading itself failed."""
    correct = pc.struct_field(table["grade"], "correct")
    missing: list[bool] = pc.and_(pc.is_null(correct), pc.is_valid(table["response"])).to_pylist()
    return missing
