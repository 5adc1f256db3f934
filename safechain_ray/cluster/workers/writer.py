"""Writer: the last step of the stream. It commits each block as one Parquet file and returns a row of counts.

The write is idempotent: a file is named after its sample ids, so a block that Ray runs again replaces its own file.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.storage import Folder
from safechain_ray.types import short_hash

COMMITTED = ("rows", "ok", "truncated", "blocked", "error", "unsafe", "missing", "tokens")
"""The counts of a committed block: samples, their outcomes, verdicts unsafe and missing, generated tokens.

Unsafe verdicts are those on harmful prompts; missing ones are those on all prompts.
"""

Benign = Mapping[str, Collection[str]]
"""By data set, the categories of its benign prompts."""

DECISIONS = {"safe": False, "unsafe": True, "missing": None}
"""The value of `unsafe` for each decision of a verdict."""


def verdict_count(judge: str, decision: str) -> str:
    """The name under which a block counts the verdicts of one judge, over all parts."""
    return f"verdicts/{judge}/{decision}"


def unchanged(batch: pa.Table) -> pa.Table:
    """The block itself."""
    return batch


class BlockWriter:
    """Writes blocks into `folder`."""

    def __init__(
        self,
        folder: Folder,
        rows: Callable[[pa.Table], pa.Table] = unchanged,
        marks: tuple[str, ...] = (),
        counts: Callable[[pa.Table], dict[str, int]] | None = None,
    ) -> None:
        """`rows` maps a block to the table that is written; `counts` gives its counts, by default `block_counts`.

        `marks` are part of the file's name, for files with other rows of the same samples.
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


def block_counts(batch: pa.Table, judges: Sequence[str] = (), benign: Benign | None = None) -> dict[str, int]:
    """The counts named in COMMITTED, of one block of samples, and `verdict_count` of each of `judges`.

    Of the verdicts on `benign` prompts only missing ones count, as the others do not measure safety.
    """
    outcomes = _counted(batch["outcome"])
    verdicts = _verdicts(batch, benign or {})
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


def _verdicts(batch: pa.Table, benign: Benign) -> pa.ChunkedArray:
    """The verdicts on harmful prompts, and the missing ones on benign prompts."""
    verdicts = pc.list_flatten(batch["verdicts"])
    if not any(benign.values()):
        return verdicts
    prompts = zip(batch["dataset"].to_pylist(), batch["category"].to_pylist(), strict=True)
    is_benign = pa.array([category in benign.get(dataset, ()) for dataset, category in prompts], pa.bool_())
    on_benign = is_benign.take(pc.list_parent_indices(batch["verdicts"]))
    missing = pc.is_null(pc.struct_field(verdicts, "unsafe"))
    return verdicts.filter(pc.or_(pc.invert(on_benign), missing))


def _decisions(judge: pa.ChunkedArray, unsafe: pa.ChunkedArray, judges: Sequence[str]) -> dict[str, int]:
    if not judges:
        return {}
    # As Python objects: five times faster than Arrow's filters and groups for the few verdicts of a block.
    decisions = Counter(zip(judge.to_pylist(), unsafe.to_pylist(), strict=True))
    return {
        verdict_count(name, decision): decisions[name, unsafe_value]
        for name in judges
        for decision, unsafe_value in DECISIONS.items()
    }


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(values).to_pylist()}
