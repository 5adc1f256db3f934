"""Puts a folder of rows in order: torn files and foreign rows are set aside, no row is there twice.

Compaction: merges the many small sample files of a finished run into few larger ones.

Verdicts that judges gave after the run, put in order: torn files set aside, failed verdicts asked for again.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from safechain_ray.runs.folder import READERS, RunFolder
from safechain_ray.runs.progress import Reporter
from safechain_ray.storage import FileFacts, Folder
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

ASIDE = "_broken"

"""Where files and rows that can't be used are moved to: readers pass over a folder of this name."""

TableCounts = Callable[[pa.Table], dict[str, int]]

EachRow = Callable[[pa.Table], list[bool]]

FINISHED, UNFINISHED, FAILED = range(3)

"""How far a row is: of repeated ones the first of these stays."""


def nothing(table: pa.Table) -> dict[str, int]:
    """Counts nothing."""
    return {}


def none(table: pa.Table) -> list[bool]:
    """No row."""
    return [False] * table.num_rows


def with_error(table: pa.Table) -> list[bool]:
    """Rows whose outcome is an error."""
    return [outcome == "error" for outcome in table["outcome"].to_pylist()]


@dataclass(frozen=True, slots=True)
class FileIndex:
    """What is in a folder of samples after it was put in order."""

    finished: dict[str, str]
    """The file of each row, by the row's key: its sample_id, or `sample_id:part` for verdicts.

    Failed rows are among them unless they are retried."""
    retried_errors: int = 0
    repeated: int = 0
    broken_files: tuple[str, ...] = ()
    foreign: dict[str, int] = field(default_factory=dict)
    """Rows of samples that the run does not have, by the file that held them."""
    counts: Counter[str] = field(default_factory=Counter)
    """Sums over the finished rows, where they were asked for."""
    unfinished: dict[str, str] = field(default_factory=dict)
    """Those of `finished` that lack something still, where that was asked for."""


@dataclass(frozen=True, slots=True)
class RowKind:
    """What the rows of a folder are: their columns, those that tell rows apart, and which rows have failed."""

    schema: pa.Schema = SAMPLES_SCHEMA
    key: tuple[str, ...] = ("sample_id",)
    failed: EachRow = with_error
    words: Mapping[str, frozenset[str]] = field(default_factory=lambda: WORDS)

    def keys(self, table: pa.Table) -> list[str]:
        """One text for each row; the sample_id itself where rows are samples."""
        return list(map(":".join, zip(*(map(str, table[name].to_pylist()) for name in self.key), strict=True)))


SAMPLE_ROWS = RowKind()


def repair_and_index(
    folder: Folder,
    *,
    retry_errors: bool,
    kind: RowKind = SAMPLE_ROWS,
    counts: TableCounts = nothing,
    unfinished: EachRow = none,
    expected: Iterable[str] | None = None,
) -> FileIndex:
    """Leave every row of this `kind` once in the Parquet files of `folder`, and say which rows there are.

    A file that can't be read (torn by a crash) is moved to `_broken/`, which readers pass over. With `expected`, which
    are the run's sample ids, rows of other samples are moved there too: they would count as finished work. Of repeated
    rows one stays, a finished one before an error. With `retry_errors` failed rows go too, to be done again.

    To drop rows, the remaining rows are written to a new file before the old file is deleted. A crash can repeat a row
    but not lose it. `counts` are taken of the finished rows, file by file. Rows that are `unfinished` stay, and are
    named, but give way to finished ones of the same key.
    """
    names = folder.list_files(".parquet")
    with ThreadPoolExecutor(READERS) as readers:
        read = partial(_read_keys, folder, kind, counts, unfinished)
        files = dict(zip(names, readers.map(read, names), strict=True))
    broken = tuple(name for name, file in files.items() if file is None)
    for name in broken:
        folder.move(name, _free_name(folder, name))
    whole = {name: file for name, file in files.items() if file is not None}
    strange = _strange(whole, expected)
    foreign = {name: found for name, file in whole.items() if (found := sum(each in strange for each in file.samples))}
    for name in foreign:
        table = folder.read_parquet(name)
        folder.write_parquet(_free_name(folder, name), filter_by_ids(table, strange))
    rows = [
        (state, name, place, key)
        for name, file in whole.items()
        for place, (key, sample_id, state) in enumerate(zip(file.keys, file.samples, file.states, strict=True))
        if sample_id not in strange
    ]
    finished: dict[str, str] = {}
    kept: defaultdict[str, list[int]] = defaultdict(list)
    lacking: list[str] = []
    retried = repeated = 0
    for state, name, place, key in sorted(rows):
        if key in finished:
            repeated += 1
        elif state == FAILED and retry_errors:
            retried += 1
        else:
            finished[key] = name
            kept[name].append(place)
            lacking += [key] if state == UNFINISHED else []
    counted = []
    taken = set(whole)
    for name, file in whole.items():
        if len(kept[name]) == len(file.keys):
            counted.append(file.counts)
            continue
        keys = [file.keys[place] for place in kept[name]]
        # A crash may have left a file of the name that the same rows got then.
        new_name = next(each for each in _names(name, keys) if each not in taken)
        taken.add(new_name)
        counted.append(_keep_only(folder, name, new_name, kept[name], counts))
        finished |= dict.fromkeys(keys, new_name)
    counted_rows = sum(map(Counter, counted), Counter())
    return FileIndex(
        finished, retried, repeated, broken, foreign, counted_rows, {each: finished[each] for each in lacking}
    )


def _free_name(folder: Folder, name: str) -> str:
    """A name below `_broken/` that no file has: a run that is continued may write the same name again."""
    taken = set((folder / ASIDE).list_files())
    others = (f"{name.removesuffix('.parquet')}-{number}.parquet" for number in count(2))
    return f"{ASIDE}/{next(each for each in chain([name], others) if each not in taken)}"


def tell(inventory: FileIndex, reporter: Reporter, place: str = "", again: str = "Its rows are done again.") -> None:
    """Report what had to be put in order in a folder of rows.

    `place` is written before the names of files; `again` says who does the rows of a torn file again.
    """
    for name in inventory.broken_files:
        reporter.report(f"{place}{name} can't be read and was moved to {ASIDE}/ beside it. {again}")
    for name, rows in inventory.foreign.items():
        reporter.report(
            f"{place}{name} held {rows} rows of samples that this run does not have: they were moved to {ASIDE}/ "
            "beside it and are not counted."
        )
    if inventory.repeated:
        reporter.report(f"{place or 'samples'}: {inventory.repeated} repeated rows of an earlier attempt were removed.")
    if inventory.retried_errors:
        reporter.report(
            f"{place or 'samples'}: {inventory.retried_errors} rows had ended with an error and are retried."
        )


@dataclass(frozen=True, slots=True)
class _File:
    """What is known of the rows of one whole file, and what was counted in it."""

    keys: list[str]
    samples: list[str]
    states: list[int]
    counts: dict[str, int]


def _strange(files: dict[str, _File], expected: Iterable[str] | None) -> set[str]:
    """The sample ids in the files that are not `expected`."""
    found = {sample_id for file in files.values() for sample_id in file.samples}
    return found.difference(expected) if found and expected is not None else set()


def _read_keys(folder: Folder, kind: RowKind, counts: TableCounts, unfinished: EachRow, name: str) -> _File | None:
    """The rows of one file, None for a broken one; every column is read, as any of them may be torn.

    Raises StorageError where the bytes can't be had: a store that does not answer does not make a file broken.
    """
    data = folder.read_bytes(name)
    try:
        table = plain_columns(pq.read_table(pa.BufferReader(data), page_checksum_verification=True))
        table = conformed(table, kind.schema, kind.words)
    except (pa.ArrowException, OSError):
        return None
    rows = zip(kind.failed(table), unfinished(table), strict=True)
    states = [FAILED if has_failed else UNFINISHED if lacks else FINISHED for has_failed, lacks in rows]
    keys = kind.keys(table)
    return _File(keys, keys if kind.key == ("sample_id",) else table["sample_id"].to_pylist(), states, counts(table))


def _names(name: str, keys: list[str]) -> Iterator[str]:
    """Names for the file that gets the rows `keys` of the file `name`."""
    for number in count():
        yield f"part-{short_hash(name, *sorted(keys), *([str(number)] if number else []))}.parquet"


def _keep_only(folder: Folder, name: str, new_name: str, places: list[int], counts: TableCounts) -> dict[str, int]:
    """Write the rows at `places` of a file under a new name and delete the old one; gives the counts of these rows."""
    counted: dict[str, int] = {}
    if places:
        rest = folder.read_parquet(name).take(sorted(places))
        folder.write_parquet(new_name, rest)
        counted = counts(rest)
    folder.delete(name)
    return counted


SMALL_BYTES = 4 * 2**20

"""Larger files stay as they are: a run of a million long samples is not written twice."""

MERGED_BYTES = 32 * 2**20

"""Most bytes of the files that become one; the driver holds their rows in memory."""


def compact(folder: Folder) -> None:
    """Merge the small Parquet files of `folder`, in which each row is there once.

    Each merged file is written before its parts are deleted. A crash in between leaves repeated rows, which the next
    `repair_and_index` drops, and never loses one.
    """
    files = [file for file in folder.list_facts() if file.name.endswith(".parquet")]
    for names in _groups(files):
        with ThreadPoolExecutor(READERS) as readers:
            tables = list(readers.map(folder.read_parquet, names))
        folder.write_parquet(
            f"part-{short_hash(*names)}.parquet", pa.concat_tables(tables, promote_options="permissive")
        )
        for name in names:
            folder.delete(name)


def _groups(files: Iterable[FileFacts]) -> Iterator[list[str]]:
    """Names of at least two small files each, of at most MERGED_BYTES together."""
    group: list[str] = []
    size = 0
    for file in sorted(files, key=lambda each: each.name):
        if file.size >= SMALL_BYTES:
            continue
        if size + file.size > MERGED_BYTES:
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append(file.name)
        size += file.size
    if len(group) > 1:
        yield group


def failed(table: pa.Table) -> list[bool]:
    """Of each verdict, whether it is missing because the judge failed."""
    no_failure = pc.match_substring_regex(table["error"], NO_FAILURE)
    found: list[bool] = pc.fill_null(pc.invert(no_failure), False).to_pylist()
    return found


def failed_on(parts: Collection[Part]) -> EachRow:
    """The failed verdicts on these parts."""

    def failed_rows(table: pa.Table) -> list[bool]:
        return [each and part in parts for each, part in zip(failed(table), table["part"].to_pylist(), strict=True)]

    return failed_rows


def failed_pieces(table: pa.Table) -> list[bool]:
    """All pieces of each thought that has a failed one: a thought is judged as a whole."""
    thoughts = list(zip(table["sample_id"].to_pylist(), table["pieces"].to_pylist(), strict=True))
    again = {thought for thought, each in zip(thoughts, failed(table), strict=True) if each}
    return [thought in again for thought in thoughts]


PIECE_ROWS = RowKind(PIECES_SCHEMA, ("sample_id", "pieces", "piece"), failed_pieces)


def samples_in_order(folder: RunFolder, reporter: Reporter) -> Collection[str]:
    """The ids of all samples of the run, after repeated rows of a command that was cut off are removed."""
    inventory = repair_and_index(folder.samples, retry_errors=False)
    tell(inventory, reporter, again="Fix: rerun the run's own command: it does the file's rows again.")
    return inventory.finished


def put_verdicts_in_order(
    folder: RunFolder,
    expected: Iterable[str],
    reporter: Reporter,
    again: Collection[str] = (),
    parts: Collection[Part] = (),
) -> None:
    """Put verdicts/ and pieces/ of the run in order, whose sample ids are `expected`, and report what was wrong.

    Failed verdicts of the judges in `again` are removed, so that they are requested again: those on these `parts`, or
    those on pieces where `parts` is empty.
    """
    kinds = {"verdicts": RowKind(VERDICTS_SCHEMA, ("sample_id", "part"), failed_on(parts)), "pieces": PIECE_ROWS}
    places = [(place, folder.folder / place) for place in kinds if (folder.folder / place).exists()]
    found = [(place, above / judge, judge) for place, above in places for judge in above.list_folders()]
    ids = frozenset(expected) if found else frozenset()
    for place, target, judge in found:
        asked_again = judge in again and (place == "verdicts") == bool(parts)
        inventory = repair_and_index(target, retry_errors=asked_again, kind=kinds[place], expected=ids)
        option = "--part" if place == "verdicts" else "--pieces"
        fix = f"Fix: run `safechain-ray judge RUN --judge {judge}` with the same {option} as before to judge its rows."
        tell(inventory, reporter, f"{place}/{judge}/", "Its rows are judged again." if asked_again else fix)
