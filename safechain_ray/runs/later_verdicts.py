"""Verdicts that judges gave after the run, put in order: torn files set aside, failed verdicts asked for again."""

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.runs.file_index import EachRow, RowKind, put_in_order, tell
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.progress import Speaker
from safechain_ray.types import NO_FAILURE, PIECES_SCHEMA, VERDICTS_SCHEMA, Part


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


def samples_in_order(folder: RunFolder, observer: Speaker) -> Collection[str]:
    """The ids of all samples of the run, after repeated rows of a command that was cut off are removed."""
    inventory = put_in_order(folder.samples, retry_errors=False)
    tell(inventory, observer, again="Fix: rerun the run's own command: it does the file's rows again.")
    return inventory.finished


def put_verdicts_in_order(
    folder: RunFolder,
    expected: Iterable[str],
    observer: Speaker,
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
        inventory = put_in_order(target, retry_errors=asked_again, kind=kinds[place], expected=ids)
        option = "--part" if place == "verdicts" else "--pieces"
        fix = f"Fix: run `safechain-ray judge RUN --judge {judge}` with the same {option} as before to judge its rows."
        tell(inventory, observer, f"{place}/{judge}/", "Its rows are judged again." if asked_again else fix)
