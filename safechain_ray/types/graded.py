"""Samples of a benchmark: those of any run, each with its grade."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.types.tables import SAMPLES_SCHEMA, arrow_array

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
