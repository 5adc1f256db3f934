"""Repair of the verdicts that judges gave after a run: torn files are quarantined, failed verdicts requested again."""

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.runs.file_index import RowFilter, RowKind, repair_and_index, report_repairs
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.progress import Reporter
from safechain_ray.types import NO_FAILURE, PIECES_SCHEMA, VERDICTS_SCHEMA, Part


def repair_samples(folder: RunFolder, reporter: Reporter) -> Collection[str]:
    """Remove repeated rows of a finished run's samples, and report torn files. Returns the ids of all samples."""
    index = repair_and_index(folder.samples, retry_errors=False)
    report_repairs(index, reporter, fix="Fix: rerun the run's own command: it does the file's rows again.")
    return index.completed


def repair_verdicts(
    folder: RunFolder,
    expected: Iterable[str],
    reporter: Reporter,
    again: Collection[str] = (),
    parts: Collection[Part] = (),
) -> None:
    """Repair verdicts/ and pieces/ of the run, whose sample ids are `expected`, and report what was wrong.

    Failed verdicts of the judges in `again` are removed, so that they are requested again: those on these `parts`, or
    those on prefixes of thoughts where `parts` is empty.
    """
    kinds = {"verdicts": RowKind(VERDICTS_SCHEMA, ("sample_id", "part"), failed_on(parts)), "pieces": PREFIX_ROWS}
    parents = [(name, folder.folder / name) for name in kinds if (folder.folder / name).exists()]
    found = [(name, parent / judge, judge) for name, parent in parents for judge in parent.list_folders()]
    ids = frozenset(expected) if found else frozenset()
    for name, target, judge in found:
        asked_again = judge in again and (name == "verdicts") == bool(parts)
        index = repair_and_index(target, retry_errors=asked_again, kind=kinds[name], expected=ids)
        option = "--part" if name == "verdicts" else "--pieces"
        fix = f"Fix: run `safechain-ray judge RUN --judge {judge}` with the same {option} as before to judge its rows."
        report_repairs(index, reporter, f"{name}/{judge}/", "Its rows are judged again." if asked_again else fix)


def failed(table: pa.Table) -> list[bool]:
    """Whether each verdict is missing because the judge failed."""
    no_failure = pc.match_substring_regex(table["error"], NO_FAILURE)
    found: list[bool] = pc.fill_null(pc.invert(no_failure), False).to_pylist()
    return found


def failed_on(parts: Collection[Part]) -> RowFilter:
    """The failed verdicts on these parts."""

    def failed_rows(table: pa.Table) -> list[bool]:
        return [each and part in parts for each, part in zip(failed(table), table["part"].to_pylist(), strict=True)]

    return failed_rows


def failed_thoughts(table: pa.Table) -> list[bool]:
    """All prefixes of each thought that has a failed one: a thought is judged as a whole."""
    thoughts = list(zip(table["sample_id"].to_pylist(), table["pieces"].to_pylist(), strict=True))
    again = {thought for thought, each in zip(thoughts, failed(table), strict=True) if each}
    return [thought in again for thought in thoughts]


PREFIX_ROWS = RowKind(PIECES_SCHEMA, ("sample_id", "pieces", "piece"), failed_thoughts)
