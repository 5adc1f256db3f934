"""Regrading after a change of a grader's version, so that a run never mixes grades of two versions.

A grader's version rises when the same text may get another grade. A rerun of the command first regrades the stored
answers. Nothing is generated again.
"""

from collections.abc import Mapping, Set

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.runs.file_index import RowKind, put_in_order
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.record import RunRecord
from safechain_ray.storage import Folder
from safechain_ray.types import arrow_array, short_hash
from safechain_ray.types.graded import GRADE_TYPE, GRADED_SCHEMA, without_grade

FIRST_VERSION = 1
"""The version of graders in runs that record no version."""

REASON = "graded by an earlier version of the grader"


def outdated(record: RunRecord, versions: Mapping[str, int]) -> set[str]:
    """The benchmarks with grades of another version of their grader; `versions` go by benchmark."""
    return {name for name, version in versions.items() if record.grader_versions.get(name, FIRST_VERSION) != version}


def drop_old_grades(folder: RunFolder, record: RunRecord, versions: Mapping[str, int]) -> int:
    """Remove the grades that another version of their grader gave; returns how many.

    `versions` go by benchmark. The record gets the new versions last, so that a removal that was cut off is done
    again. Removing a grade twice does no harm.
    """
    old = outdated(record, versions)
    if not old:
        return 0
    put_in_order(folder.samples, retry_errors=False, kind=RowKind(GRADED_SCHEMA), unfinished=without_grade)
    dropped = sum(_drop(folder.samples, name, old) for name in folder.samples.list_files(".parquet"))
    record.graded_by(versions)
    return dropped


def _drop(samples: Folder, name: str, benchmarks: Set[str]) -> int:
    """Rewrite one file without the grades of these benchmarks: the new file is there before the old one goes."""
    table = samples.read_parquet(name)
    graded = pc.is_valid(pc.struct_field(table["grade"], "correct"))
    stale = pc.and_(graded, pc.is_in(table["dataset"], pa.array(sorted(benchmarks)))).to_pylist()
    if not any(stale):
        return 0
    grades = [
        grade | {"correct": None, "error": REASON} if is_stale else grade
        for grade, is_stale in zip(table["grade"].to_pylist(), stale, strict=True)
    ]
    place = table.schema.get_field_index("grade")
    rest = table.set_column(place, GRADED_SCHEMA.field("grade"), arrow_array(grades, GRADE_TYPE))
    samples.write_parquet(f"part-{short_hash(REASON, name)}.parquet", rest)
    samples.delete(name)
    return sum(stale)
