"""Arrow schemas of a run's files, conversions between records and tables, and the records of preferences.

1. The columns of samples and verdicts are declared by the records `Sample` and `Verdict` (`samples.py`).
2. `conformed` validates a table that was read from a file, and fills columns that earlier versions did not write.
3. `plain_columns` refuses columns of Python objects. Reading such a column can run code that the file's writer chose.

A pairwise preference is a judge's decision between two responses to a prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import NoneType
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.types.samples import Sample, Verdict, arrow_fields, as_row
from safechain_ray.types.strict_numbers import Outcome, Part
from safechain_ray.types.thinking import well_formed_tree

SAMPLES_SCHEMA = pa.schema(arrow_fields(Sample))
"""The columns of `samples/*.parquet`, one row a `Sample`."""

VERDICT_TYPE = pa.struct(arrow_fields(Verdict))
"""An item of the column `verdicts`."""

_SAMPLE_KEYS = ("sample_id", "setting_id", "prompt_id")

_PIECE_KEYS = ("pieces", "piece", "end", "characters")

VERDICTS_SCHEMA = pa.schema([*(SAMPLES_SCHEMA.field(name) for name in _SAMPLE_KEYS), *VERDICT_TYPE])
"""The columns of `verdicts/<judge>/*.parquet`, one row a verdict that was added to a completed run."""

PIECES_SCHEMA = pa.schema(
    [
        *(SAMPLES_SCHEMA.field(name) for name in _SAMPLE_KEYS),
        *(pa.field(name, pa.int32(), nullable=False) for name in _PIECE_KEYS),
        *(field for field in VERDICT_TYPE if field.name != "part"),
    ]
)
"""The columns of `pieces/<judge>/*.parquet`, one row a verdict on a prefix of a thought.

`pieces` is the number of prefixes requested, and `piece` the number of this one, from 1. The prefix ends at character
`end` of the thought's `characters`.
"""

GRADE_TYPE = pa.struct(
    [
        pa.field("grader", pa.string(), nullable=False),
        pa.field("correct", pa.bool_()),
        pa.field("extracted", pa.string()),
        pa.field("error", pa.string()),
    ]
)
"""`correct` is null if the grade is missing; `error` is then the reason. `extracted` is the text that was graded."""

GRADED_SCHEMA = SAMPLES_SCHEMA.append(pa.field("grade", GRADE_TYPE, nullable=False))
"""The columns of `samples/*.parquet` of a benchmark run: those of every run, and `grade`."""

ADDED_COLUMNS = ("refusal", "harmful_request")
"""Columns of verdicts that files of earlier versions lack. All are nullable."""

WORDS: Mapping[str, frozenset[str]] = {"outcome": frozenset(get_args(Outcome)), "part": frozenset(get_args(Part))}
"""Allowed values of the columns of samples and verdicts that are closed lists."""


def arrow_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """`values` as an Arrow array, with each half of a surrogate pair in a text replaced by U+FFFD.

    Models, judges and graders quote foreign text. One text that UTF-8 can't encode would fail the whole block.
    """
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array(well_formed_tree(values), kind)


def record_arrays(records: Sequence[Any], fields: Iterable[pa.Field]) -> dict[str, pa.Array]:
    """The named fields of the records as columns."""
    # Arrow makes a new text of `field.name` each time, so it is read once for all records.
    named = ((field.name, field.type) for field in fields)
    return {name: arrow_array(list(map(attrgetter(name), records)), kind) for name, kind in named}


def samples_table(samples: Sequence[Sample]) -> pa.Table:
    """The samples as a table of `SAMPLES_SCHEMA`."""
    *plain, verdicts = SAMPLES_SCHEMA
    rows = [list(map(as_row, sample.verdicts)) for sample in samples]
    columns = {**record_arrays(samples, plain), verdicts.name: arrow_array(rows, verdicts.type)}
    return pa.table(columns, SAMPLES_SCHEMA)


def samples_from_table(table: pa.Table) -> list[Sample]:
    """The rows of a table of `SAMPLES_SCHEMA` as records."""
    columns = {name: table.column(name).to_pylist() for name in SAMPLES_SCHEMA.names}
    columns["verdicts"] = [tuple(map(_verdict, verdicts)) for verdicts in columns["verdicts"]]
    # By position, in the order of the record's fields. One mapping a row takes twice the time.
    return [Sample(*row) for row in zip(*columns.values(), strict=True)]


def check_storable(record: Sample | Verdict) -> None:
    """Raise Arrow's error if a column can't store a value of the record.

    Called in the error handling of a single row, so that the value does not fail the row's block.
    """
    if isinstance(record, Sample):
        if not _has_plain_values(record, _SAMPLE_VALUES) or record.verdicts:
            samples_table([record])
    elif not (_has_plain_values(record, _VERDICT_VALUES) and _are_names(record.categories)):
        arrow_array([as_row(record)], VERDICT_TYPE)


def _are_names(categories: Any) -> bool:
    return type(categories) is tuple and all(type(name) is str for name in categories)


_PLAIN_TYPES: Mapping[pa.DataType, tuple[frozenset[type], int]] = {
    pa.string(): (frozenset({str, NoneType}), 0),
    pa.float64(): (frozenset({float, NoneType}), 0),
    pa.bool_(): (frozenset({bool, NoneType}), 0),
    pa.int32(): (frozenset({int, NoneType}), 2**31),
    pa.int64(): (frozenset({int, NoneType}), 2**63),
}
"""For a column's type: the types of values that it surely stores, and the limit of an integer."""


def _plain_values(fields: Iterable[pa.Field]) -> tuple[tuple[str, frozenset[type], int], ...]:
    return tuple((field.name, *_PLAIN_TYPES[field.type]) for field in fields if field.type in _PLAIN_TYPES)


_SAMPLE_VALUES = _plain_values(SAMPLES_SCHEMA)
_VERDICT_VALUES = _plain_values(VERDICT_TYPE)


def _has_plain_values(record: Sample | Verdict, values: Iterable[tuple[str, frozenset[type], int]]) -> bool:
    """Whether the columns surely store these values of the record.

    An Arrow table of one row takes 140 µs, more than the rest of a scripted row together.
    """
    for name, types, limit in values:
        value = getattr(record, name)
        if type(value) not in types or (limit and value is not None and not -limit <= value < limit):
            return False
    return True


def with_verdicts(table: pa.Table, verdicts: Sequence[Iterable[Verdict]]) -> pa.Table:
    """The table with `verdicts[i]` appended to the verdicts of row i."""
    index = table.schema.get_field_index("verdicts")
    rows = [
        [*earlier, *map(as_row, new)] for earlier, new in zip(table.column(index).to_pylist(), verdicts, strict=True)
    ]
    return table.set_column(index, SAMPLES_SCHEMA.field("verdicts"), arrow_array(rows, pa.list_(VERDICT_TYPE)))


def without_verdicts(table: pa.Table) -> pa.Table:
    """The samples with an empty list of verdicts each."""
    index = table.schema.get_field_index("verdicts")
    empty: pa.Array = pa.array([[]] * table.num_rows, type=pa.list_(VERDICT_TYPE))
    return table.set_column(index, SAMPLES_SCHEMA.field("verdicts"), empty)


def verdicts_table(table: pa.Table) -> pa.Table:
    """The verdicts of a table of `SAMPLES_SCHEMA`, one row each, as a table of `VERDICTS_SCHEMA`."""
    rows = pc.list_parent_indices(table["verdicts"])
    verdicts = pc.list_flatten(table["verdicts"])
    of_samples = [table[name].take(rows) for name in _SAMPLE_KEYS]
    of_verdicts = [pc.struct_field(verdicts, field.name) for field in VERDICT_TYPE]
    return pa.table([*of_samples, *of_verdicts], schema=VERDICTS_SCHEMA)


def with_grades(table: pa.Table, grades: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Samples (of `SAMPLES_SCHEMA`) with one grade each, as a table of `GRADED_SCHEMA`."""
    return table.append_column(GRADED_SCHEMA.field("grade"), arrow_array(grades, GRADE_TYPE))


def without_grade(table: pa.Table) -> list[bool]:
    """For each row of `GRADED_SCHEMA`, whether it has a response but no grade, because grading failed."""
    correct = pc.struct_field(table["grade"], "correct")
    missing: list[bool] = pc.and_(pc.is_null(correct), pc.is_valid(table["response"])).to_pylist()
    return missing


def as_samples(table: pa.Table) -> pa.Table:
    """The columns of `SAMPLES_SCHEMA` alone. Fields that a file of an earlier version lacks are null."""
    return table.select(SAMPLES_SCHEMA.names).cast(SAMPLES_SCHEMA)


def filter_by_ids(table: pa.Table, sample_ids: Iterable[str]) -> pa.Table:
    """The rows of `table` with these ids."""
    return table.filter(pc.is_in(table["sample_id"], value_set=pa.array(sample_ids, pa.string())))


def conformed(table: pa.Table, schema: pa.Schema, words: Mapping[str, frozenset[str]] = WORDS) -> pa.Table:
    """`table` with exactly this schema. Fields and columns that earlier versions did not write become null.

    `words` are the allowed values of columns with a closed list.

    Raises:
        ArrowException: other columns or types, text that is not UTF-8, nulls in a required column, numbers that are
            not finite, or words that are not in `words`.
    """
    table = _with_added_columns(table, schema)
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


def _with_added_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    for name in ADDED_COLUMNS:
        if name in schema.names and name not in table.schema.names:
            field = schema.field(name)
            nulls = pa.nulls(table.num_rows, field.type)
            table = table.add_column(schema.get_field_index(name), field, nulls)
    return table


def plain_columns(table: pa.Table) -> pa.Table:
    """The table itself, if none of its columns is of an extension type that Python code reads.

    Once Ray Data is imported, Arrow knows Ray's type for pickled objects by its name in the file, and `to_pylist`
    unpickles them. No column of this project or of a data set needs such a type. Arrow's own extension types (JSON,
    UUID, bool8, tensors of a fixed shape) are implemented in C++ and have plain values.

    Raises:
        ArrowInvalid: a column is of such a type, at any depth.
    """
    objects = [field.name for field in table.schema if holds_objects(field.type)]
    if objects:
        raise pa.ArrowInvalid(
            f"refused: reading the columns {', '.join(objects)} could run code that their writer chose"
        )
    return table


def holds_objects(kind: pa.DataType) -> bool:
    """Whether `kind` is, or contains at any depth, an extension type that Python code reads."""
    if isinstance(kind, pa.ExtensionType):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return holds_objects(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return holds_objects(kind.value_type)
    return any(holds_objects(kind.field(number).type) for number in range(kind.num_fields))


def _verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**row, "categories": tuple(row["categories"])})


def _check_values(name: str, values: pa.ChunkedArray | pa.Array, words: Mapping[str, frozenset[str]]) -> None:
    """Raise ArrowInvalid for numbers that are not finite and for words outside their closed list."""
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
    """Whether a column of type `found` can be cast to `expected`: equal types, or numbers of another width."""
    if pa.types.is_list(expected):
        return pa.types.is_list(found) and _alike(found.value_type, expected.value_type)
    if pa.types.is_struct(expected):
        known = {field.name: field.type for field in expected}
        return pa.types.is_struct(found) and all(
            field.name in known and _alike(field.type, known[field.name]) for field in found
        )
    alike = (pa.types.is_integer, pa.types.is_floating)
    return found == expected or any(is_kind(found) and is_kind(expected) for is_kind in alike)


Preferred = Literal["a", "b", "tie"]
"""The answer to one comparison; `tie`: neither response is better."""

PreferenceOutcome = Literal["win", "tie", "lose", "error"]
"""The result for the response of run A against that of run B; `error`: the judge gave no decision."""


@dataclass(frozen=True, slots=True)
class Preference:
    """A judge's decision between the responses of two runs, A and B, to one prompt.

    The judge compares each pair in both orders. `a_first` and `b_first` are its answers with A's or B's response shown
    first. Two equal answers are a win or a loss, others are a tie. `score` in [0, 1] is the preference for A (1/2: no
    preference), None if the judge's engine returns no log-probabilities. `error` is the reason of the outcome `error`.
    `note` names text that the judge did not see.
    """

    judge: str
    outcome: PreferenceOutcome
    a_first: Preferred | None = None
    b_first: Preferred | None = None
    score: float | None = None
    error: str | None = None
    note: str | None = None


_PAIR = [
    SAMPLES_SCHEMA.field("sample_id"),
    pa.field("sample_id_b", pa.string(), nullable=False),
    SAMPLES_SCHEMA.field("setting_id"),
    pa.field("setting_id_b", pa.string(), nullable=False),
    *(SAMPLES_SCHEMA.field(name) for name in ("dataset", "strategy", "prompt_id", "category", "sample_index")),
]

PAIRS_SCHEMA = pa.schema(
    [
        *_PAIR,
        SAMPLES_SCHEMA.field("prompt"),
        pa.field("a", pa.string(), nullable=False),
        pa.field("b", pa.string(), nullable=False),
    ]
)
"""The pairs that a judge compares: the columns of A's sample, the ids of B's sample, and both texts."""

PREFERENCES_SCHEMA = pa.schema([*_PAIR, *arrow_fields(Preference)])
"""The columns of `preferences/*.parquet`, one row a pair. The texts are in the runs; `sample_id` is that of run A."""


def preferences_table(pairs: pa.Table, preferences: Sequence[Preference]) -> pa.Table:
    """`pairs` (of `PAIRS_SCHEMA`) with the decision on each row, as a table of `PREFERENCES_SCHEMA`."""
    of_pairs = {field.name: pairs[field.name] for field in _PAIR}
    return pa.table({**of_pairs, **record_arrays(preferences, arrow_fields(Preference))}, schema=PREFERENCES_SCHEMA)
