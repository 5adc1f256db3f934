"""Repair and index of a folder of rows: torn files are quarantined, repeated rows removed, small files merged.

Guarantees:
1. After `repair_and_index` every row is in exactly one file, and the index has its file.
2. A crash at any moment may repeat a row, but loses none: new files are written before old ones are deleted.
3. A file that cannot be used is moved to `_broken/`, never deleted.

`repair_verdicts` does so for verdicts of added judges. Failed verdicts are then requested again.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.progress import Reporter
from safechain_ray.storage import FileFacts, Folder, read_ahead
from safechain_ray.types import (
    NO_FAILURE,
    PIECES_SCHEMA,
    SAMPLES_SCHEMA,
    VERDICTS_SCHEMA,
    WORDS,
    Part,
    conformed,
    filter_by_ids,
    short_hash,
)
from safechain_ray.types.tables import plain_columns

QUARANTINE = "_broken"
"""Folder for files and rows that cannot be used. Readers skip a folder of this name."""

SMALL_BYTES = 4 * 2**20
"""Compaction leaves larger files as they are: a run of a million long samples is not written twice."""

MERGED_BYTES = 32 * 2**20
"""Most bytes of the files that become one."""

MERGED_MEMORY = 64 * 2**20
"""Most bytes of their rows in memory, which a reader of the file needs too. Repeated text takes far less in a file."""

TableCounts = Callable[[pa.Table], dict[str, int]]

RowFilter = Callable[[pa.Table], list[bool]]

COMPLETED, INCOMPLETE, FAILED = range(3)
"""State of a row. Of repeated rows the one with the lowest state stays."""


def no_counts(table: pa.Table) -> dict[str, int]:
    return {}


def no_rows(table: pa.Table) -> list[bool]:
    return [False] * table.num_rows


def with_error(table: pa.Table) -> list[bool]:
    """Rows whose outcome is an error."""
    return [outcome == "error" for outcome in table["outcome"].to_pylist()]


@dataclass(frozen=True, slots=True)
class RowKind:
    """The rows of a folder: their columns, the columns that identify a row, and which rows have failed."""

    schema: pa.Schema = SAMPLES_SCHEMA
    key: tuple[str, ...] = ("sample_id",)
    failed: RowFilter = with_error
    words: Mapping[str, frozenset[str]] = field(default_factory=lambda: WORDS)

    def keys(self, table: pa.Table) -> list[str]:
        """One text for each row: for samples the sample_id itself."""
        return list(map(":".join, zip(*(map(str, table[name].to_pylist()) for name in self.key), strict=True)))


SAMPLE_ROWS = RowKind()


@dataclass(frozen=True, slots=True)
class FileIndex:
    """The rows of a folder after its repair, and what the repair changed."""

    completed: dict[str, str]
    """The file of each row, by the row's key: its sample_id, or `sample_id:part` for verdicts.

    Failed rows are among them unless they are retried."""
    retried_errors: int = 0
    repeated: int = 0
    broken_files: tuple[str, ...] = ()
    foreign: dict[str, int] = field(default_factory=dict)
    """Rows of samples that the run does not have, by the file that had them."""
    counts: Counter[str] = field(default_factory=Counter)
    """Sums over the completed rows, where counts were asked for."""
    incomplete: dict[str, str] = field(default_factory=dict)
    """Those of `completed` that still lack something, where that was asked for."""


def repair_and_index(
    folder: Folder,
    *,
    retry_errors: bool,
    kind: RowKind = SAMPLE_ROWS,
    counts: TableCounts = no_counts,
    incomplete: RowFilter = no_rows,
    expected: Iterable[str] | None = None,
) -> FileIndex:
    """Leave every row of this `kind` once in the Parquet files of `folder`, and index the rows.

    Torn files are moved to `_broken/`. With `expected`, the run's sample ids, rows of other samples are moved there
    too: they would count as finished rows. Of repeated rows one stays, a completed one before an error. With
    `retry_errors` failed rows are dropped, so that they are generated again.

    `counts` are taken of the completed rows, file by file. Rows that are `incomplete` stay and are listed, but a
    completed row of the same key replaces them.
    """
    listed = folder.list_facts(".parquet")
    read = partial(_read_keys, folder, kind, counts, incomplete)
    read_files = read_ahead(listed, read, memory=lambda file: file.memory if file else 0)
    files = {facts.name: file for facts, file in zip(listed, read_files, strict=True)}
    broken = tuple(name for name, file in files.items() if file is None)
    for name in broken:
        folder.move(name, _free_name(folder, name))
    whole = {name: file for name, file in files.items() if file is not None}
    strange = _strange(whole, expected)
    foreign = {name: found for name, file in whole.items() if (found := sum(each in strange for each in file.samples))}
    for name in foreign:
        folder.write_parquet(_free_name(folder, name), filter_by_ids(folder.read_parquet(name), strange))
    rows = [
        (state, name, index, key)
        for name, file in whole.items()
        for index, (key, sample_id, state) in enumerate(zip(file.keys, file.samples, file.states, strict=True))
        if sample_id not in strange
    ]
    completed: dict[str, str] = {}
    staying: defaultdict[str, list[int]] = defaultdict(list)
    lacking: list[str] = []
    retried = repeated = 0
    for state, name, index, key in sorted(rows):
        if key in completed:
            repeated += 1
        elif state == FAILED and retry_errors:
            retried += 1
        else:
            completed[key] = name
            staying[name].append(index)
            lacking += [key] if state == INCOMPLETE else []
    counted = []
    taken = set(whole)
    for name, file in whole.items():
        if len(staying[name]) == len(file.keys):
            counted.append(file.counts)
            continue
        keys = [file.keys[index] for index in staying[name]]
        # A crash may have left a file of the name that the same rows got then.
        new_name = next(each for each in _names(name, keys) if each not in taken)
        taken.add(new_name)
        counted.append(_rewrite(folder, name, new_name, staying[name], counts))
        completed |= dict.fromkeys(keys, new_name)
    counted_rows = sum(map(Counter, counted), Counter())
    return FileIndex(
        completed, retried, repeated, broken, foreign, counted_rows, {each: completed[each] for each in lacking}
    )


def report_repairs(
    index: FileIndex, reporter: Reporter, prefix: str = "", fix: str = "Its rows are generated again."
) -> None:
    """Report what the repair of a folder of rows changed.

    `prefix` is written before the names of files; `fix` ends the sentence about a torn file.
    """
    for name in index.broken_files:
        reporter.report(f"{prefix}{name} can't be read and was moved to {QUARANTINE}/ beside it. {fix}")
    for name, rows in index.foreign.items():
        reporter.report(
            f"{prefix}{name} held {rows} rows of samples that this run does not have: they were moved to {QUARANTINE}/ "
            "beside it and are not counted."
        )
    if index.repeated:
        reporter.report(f"{prefix or 'samples'}: {index.repeated} repeated rows of an earlier attempt were removed.")
    if index.retried_errors:
        reporter.report(f"{prefix or 'samples'}: {index.retried_errors} rows had ended with an error and are retried.")


def compact(folder: Folder) -> None:
    """Merge the small Parquet files of `folder`, in which each row is there once.

    Each merged file is written before its parts are deleted. A crash in between leaves repeated rows, which the next
    `repair_and_index` drops.
    """
    small = [file for file in folder.list_facts(".parquet") if file.size < SMALL_BYTES]
    if len(small) < 2:
        return
    group = _Group(folder)
    tables = read_ahead(small, folder.read_parquet, memory=lambda table: table.nbytes)
    for file, table in zip(small, tables, strict=True):
        if not group.has_room(file, table):
            group.merge()
            group = _Group(folder)
        group.add(file, table)
    group.merge()


@dataclass(slots=True)
class _Group:
    """Small files of `folder` that become one."""

    folder: Folder
    names: list[str] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    size: int = 0
    memory: int = 0

    def has_room(self, file: FileFacts, table: pa.Table) -> bool:
        return self.size + file.size <= MERGED_BYTES and self.memory + table.nbytes <= MERGED_MEMORY

    def add(self, file: FileFacts, table: pa.Table) -> None:
        self.names.append(file.name)
        self.tables.append(table)
        self.size += file.size
        self.memory += table.nbytes

    def merge(self) -> None:
        """Write the rows as one file, then delete their files."""
        if len(self.names) < 2:
            return
        merged = pa.concat_tables(self.tables, promote_options="permissive")
        self.folder.write_parquet(f"part-{short_hash(*self.names)}.parquet", merged)
        for name in self.names:
            self.folder.delete(name)


@dataclass(frozen=True, slots=True)
class _File:
    """The rows of one whole file, and their counts."""

    keys: list[str]
    samples: list[str]
    states: list[int]
    counts: dict[str, int]
    memory: int
    """Bytes of the rows while they were read."""


def _read_keys(folder: Folder, kind: RowKind, counts: TableCounts, incomplete: RowFilter, name: str) -> _File | None:
    """The rows of one file, None for a broken one. Every column is read, as any of them may be torn.

    Raises StorageError where the bytes can't be read: a store that does not answer does not make a file broken.
    """
    data = folder.read_bytes(name)
    try:
        table = plain_columns(pq.read_table(pa.BufferReader(data), page_checksum_verification=True))
        table = conformed(table, kind.schema, kind.words)
    except (pa.ArrowException, OSError):
        return None
    rows = zip(kind.failed(table), incomplete(table), strict=True)
    states = [FAILED if has_failed else INCOMPLETE if lacks else COMPLETED for has_failed, lacks in rows]
    keys = kind.keys(table)
    samples = keys if kind.key == ("sample_id",) else table["sample_id"].to_pylist()
    return _File(keys, samples, states, counts(table), len(data) + table.nbytes)


def _strange(files: dict[str, _File], expected: Iterable[str] | None) -> set[str]:
    """The sample ids in the files that are not `expected`."""
    found = {sample_id for file in files.values() for sample_id in file.samples}
    return found.difference(expected) if found and expected is not None else set()


def _free_name(folder: Folder, name: str) -> str:
    """A name below `_broken/` that no file has: a run that is resumed may write the same name again."""
    taken = set((folder / QUARANTINE).list_files())
    others = (f"{name.removesuffix('.parquet')}-{number}.parquet" for number in count(2))
    return f"{QUARANTINE}/{next(each for each in chain([name], others) if each not in taken)}"


def _names(name: str, keys: list[str]) -> Iterator[str]:
    """Names for the file that gets the rows `keys` of the file `name`."""
    for number in count():
        yield f"part-{short_hash(name, *sorted(keys), *([str(number)] if number else []))}.parquet"


def _rewrite(folder: Folder, name: str, new_name: str, indices: list[int], counts: TableCounts) -> dict[str, int]:
    """Write these rows of a file under a new name, then delete the old file. Returns the counts of these rows."""
    counted: dict[str, int] = {}
    if indices:
        rest = folder.read_parquet(name).take(sorted(indices))
        folder.write_parquet(new_name, rest)
        counted = counts(rest)
    folder.delete(name)
    return counted


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
