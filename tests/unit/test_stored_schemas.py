"""Stored Arrow schemas, held literally: folders of earlier versions must be readable, and other tools read them."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.testing import sample, verdict
from safechain_ray.types import Sample, Verdict, tables
from safechain_ray.types.samples import NULLABLE, Int32, Int64, arrow_fields
from safechain_ray.types.tables import (
    GRADED_SCHEMA,
    PAIRS_SCHEMA,
    PIECES_SCHEMA,
    PREFERENCES_SCHEMA,
    SAMPLES_SCHEMA,
    VERDICTS_SCHEMA,
    check_storable,
)

EARLIER = Path(__file__).parents[1] / "fixtures" / "written_by_ade6d38"


def required(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=False) for name in names]


def nullable(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


TEXT, INT32, INT64, FLOAT, BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
DECISION = [*nullable(BOOL, "unsafe"), *nullable(FLOAT, "score"), *nullable(pa.list_(TEXT), "categories")]
REASONS = nullable(TEXT, "error", "note")
ADDED = nullable(BOOL, "refusal", "harmful_request")
EARLIER_VERDICT = [*required(TEXT, "judge", "part"), *DECISION, *REASONS]
VERDICT = [*EARLIER_VERDICT, *ADDED]
SAMPLE = [
    *required(TEXT, "sample_id", "setting_id", "model", "dataset", "prompt_id", "category", "prompt", "strategy"),
    *required(INT32, "sample_index"),
    *required(FLOAT, "temperature", "top_p"),
    *required(INT32, "top_k", "max_tokens"),
    *nullable(INT64, "seed"),
    *nullable(TEXT, "thought", "answer", "response"),
    *required(TEXT, "prefill", "outcome"),
    *nullable(TEXT, "finish_reason", "error"),
    *required(INT32, "prompt_tokens"),
    *nullable(INT32, "thought_tokens", "answer_tokens"),
    *required(INT32, "forced_rounds"),
    *required(FLOAT, "seconds"),
    *required(TEXT, "engine"),
    *required(pa.list_(pa.struct(VERDICT)), "verdicts"),
]
GRADE = [*required(TEXT, "grader"), *nullable(BOOL, "correct"), *nullable(TEXT, "extracted", "error")]
KEYS = required(TEXT, "sample_id", "setting_id", "prompt_id")
PIECE = required(INT32, "pieces", "piece", "end", "characters")
PAIR = [
    *required(TEXT, "sample_id", "sample_id_b", "setting_id", "setting_id_b"),
    *required(TEXT, "dataset", "strategy", "prompt_id", "category"),
    *required(INT32, "sample_index"),
]
PREFERENCE = [
    *required(TEXT, "judge", "outcome"),
    *nullable(TEXT, "a_first", "b_first"),
    *nullable(FLOAT, "score"),
    *nullable(TEXT, "error", "note"),
]


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        pytest.param(SAMPLES_SCHEMA, SAMPLE, id="samples"),
        pytest.param(VERDICTS_SCHEMA, [*KEYS, *VERDICT], id="verdicts"),
        pytest.param(
            PIECES_SCHEMA,
            [*KEYS, *PIECE, *required(TEXT, "judge"), *DECISION, *REASONS, *ADDED],
            id="pieces",
        ),
        pytest.param(GRADED_SCHEMA, [*SAMPLE, *required(pa.struct(GRADE), "grade")], id="graded"),
        pytest.param(PAIRS_SCHEMA, [*PAIR, *required(TEXT, "prompt", "a", "b")], id="pairs"),
        pytest.param(PREFERENCES_SCHEMA, [*PAIR, *PREFERENCE], id="preferences"),
    ],
)
def test_a_stored_schema_never_changes(schema: pa.Schema, fields: list[pa.Field]):
    expected = pa.schema(fields)
    assert schema.equals(expected, check_metadata=True)
    assert schema.serialize().to_pybytes() == expected.serialize().to_pybytes()


@pytest.mark.parametrize(
    ("pattern", "schema", "verdicts"),
    [
        ("evaluate/samples/*.parquet", SAMPLES_SCHEMA, EARLIER_VERDICT),
        ("evaluate/verdicts/*/*.parquet", VERDICTS_SCHEMA, None),
        ("evaluate/pieces/*/*.parquet", PIECES_SCHEMA, None),
        ("benchmark/samples/*.parquet", GRADED_SCHEMA, EARLIER_VERDICT),
        ("prefer/preferences/*.parquet", PREFERENCES_SCHEMA, None),
    ],
)
def test_files_of_an_earlier_version_lack_only_fields_that_reading_fills(
    pattern: str, schema: pa.Schema, verdicts: list[pa.Field] | None
):
    files = list(EARLIER.glob(pattern))
    assert files
    added = {field.name for field in ADDED}
    for file in files:
        table = pq.read_table(file)
        expected = [field for field in schema if field.name not in added]
        assert table.schema.names == [field.name for field in expected]
        for found, field in zip(table.schema, expected, strict=True):
            earlier = pa.list_(pa.struct(verdicts)) if field.name == "verdicts" and verdicts else field.type
            assert found.type.equals(earlier) or found.type == pa.list_(pa.field("element", earlier.value_type))
        assert tables.conformed(table, schema, {}).schema.equals(schema)


def test_the_type_and_nullability_of_a_column_follow_from_the_annotation():
    @dataclass(frozen=True, slots=True)
    class Span:
        name: str
        start: Int32
        seed: Int64 | None
        tags: Annotated[tuple[str, ...], NULLABLE] = ()

    @dataclass(frozen=True, slots=True)
    class Line:
        spans: tuple[Span, ...]
        score: float | None = None

    span = [*required(TEXT, "name"), *required(INT32, "start"), *nullable(INT64, "seed")]
    span += nullable(pa.list_(TEXT), "tags")
    assert arrow_fields(Span) == span
    # Records of records are found in this module, not in a function.
    assert arrow_fields(Line) == [*required(pa.list_(pa.struct(span)), "spans"), *nullable(FLOAT, "score")]


ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -(2**31) - 1, -(2**31), 2**31 - 1, 2**31, 2**63 - 1, 2**63]),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["\ud83d", b"bytes", object(), (), ("a",), (1,), [None]]),
)
FIELDS = [(record, field.name) for record in (Sample, Verdict) for field in fields(record) if field.name != "verdicts"]


@given(st.sampled_from(FIELDS), ANY_VALUE)
def test_check_storable_refuses_what_arrow_refuses(field: tuple[type, str], value: Any):
    kind, name = field
    changed = replace(sample() if kind is Sample else verdict(True), **{name: value})
    row = changed if kind is Sample else replace(sample(), verdicts=(changed,))
    assert _error_of(lambda: check_storable(changed)) == _error_of(lambda: tables.samples_table([row]))


def _error_of(call: Any) -> type[Exception] | None:
    try:
        call()
    except Exception as error:
        return type(error)
    return None


def test_a_plain_row_is_checked_without_a_table(monkeypatch: pytest.MonkeyPatch):
    """A table of one row takes longer than all other work of a scripted row together."""
    monkeypatch.setattr(tables, "samples_table", lambda _: pytest.fail("a table of one row"))
    monkeypatch.setattr(tables, "arrow_array", lambda *_: pytest.fail("an array of one row"))
    check_storable(replace(sample(), seed=2**62))
    check_storable(replace(verdict(True), categories=("S1",), score=0.5))
