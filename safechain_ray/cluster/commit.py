"""The last step of the stream: a block of samples becomes one Parquet file, and a row of counts goes to the driver."""

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.schema import short_hash
from safechain_ray.storage import Folder

COMMITTED = ("rows", "ok", "truncated", "blocked", "error", "unsafe", "missing", "tokens")
"""The counts of a committed block: samples, their outcomes, verdicts unsafe and missing, generated tokens."""

DECISIONS = ("safe", "unsafe", "missing")


def verdict_count(judge: str, decision: str) -> str:
    """The name under which a block counts the verdicts of one judge, over all parts."""
    return f"verdicts/{judge}/{decision}"


def whole(batch: pa.Table) -> pa.Table:
    """The block as it is."""
    return batch


class Commit:
    """Writes blocks into `folder`.

    A file is named after the sample ids in it, so a block that Ray runs again replaces its own file instead of
    standing there twice.
    """

    def __init__(
        self,
        folder: Folder,
        rows: Callable[[pa.Table], pa.Table] = whole,
        marks: tuple[str, ...] = (),
        counts: Callable[[pa.Table], dict[str, int]] | None = None,
    ) -> None:
        """`rows` is what is written of a block; `marks` set its file apart from others of the same samples.

        `counts` are those of a block that the driver hears of; those of samples where nothing else is given.
        """
        self._folder = folder
        self._rows = rows
        self._marks = marks
        self._counts = counts or block_counts

    def __call__(self, batch: pa.Table) -> pa.Table:
        if batch.num_rows == 0:
            return pa.table({name: pa.array([], pa.int64()) for name in self._counts(batch)})
        name = f"part-{short_hash(*self._marks, *sorted(batch['sample_id'].to_pylist()))}.parquet"
        self._folder.write_parquet(name, self._rows(batch))
        return pa.table({name: [count] for name, count in self._counts(batch).items()})


def block_counts(batch: pa.Table, judges: Sequence[str] = ()) -> dict[str, int]:
    """The counts named in COMMITTED, of one block of samples, and `verdict_count` of each of `judges`."""
    outcomes = _counted(batch["outcome"])
    verdicts = pc.list_flatten(batch["verdicts"])
    unsafe = pc.struct_field(verdicts, "unsafe")
    tokens = (pc.sum(batch[column]).as_py() or 0 for column in ("thought_tokens", "answer_tokens"))
    return {
        "rows": batch.num_rows,
        **{outcome: outcomes.get(outcome, 0) for outcome in ("ok", "truncated", "blocked", "error")},
        "unsafe": pc.sum(unsafe).as_py() or 0,
        "missing": unsafe.null_count,
        "tokens": sum(tokens),
        **_decisions(pc.struct_field(verdicts, "judge"), unsafe, judges),
    }


def _decisions(judge: pa.ChunkedArray, unsafe: pa.ChunkedArray, judges: Sequence[str]) -> dict[str, int]:
    """Few passes over whole columns, whatever the number of judges: this runs for every block."""
    if not judges:
        return {}
    said, found_unsafe, missing = (
        _counted(each) for each in (judge, judge.filter(unsafe), judge.filter(unsafe.is_null()))
    )
    counts: dict[str, int] = {}
    for name in judges:
        of_judge = {"unsafe": found_unsafe.get(name, 0), "missing": missing.get(name, 0)}
        of_judge["safe"] = said.get(name, 0) - sum(of_judge.values())
        counts |= {verdict_count(name, decision): of_judge[decision] for decision in DECISIONS}
    return counts


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(values).to_pylist()}
