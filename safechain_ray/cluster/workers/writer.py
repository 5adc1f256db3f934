"""The last step of the stream: a block of samples becomes one Parquet file, and a row of counts goes to the driver."""

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
"""What a verdict may be, and its `unsafe`."""


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


def block_counts(batch: pa.Table, judges: Sequence[str] = (), benign: Benign | None = None) -> dict[str, int]:
    """The counts named in COMMITTED, of one block of samples, and `verdict_count` of each of `judges`.

    Verdicts on `benign` prompts count only where they are missing: they say nothing of safety.
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
    # As Python objects: for the few verdicts of a block that is five times faster than Arrow's filters and groups.
    given = Counter(zip(judge.to_pylist(), unsafe.to_pylist(), strict=True))
    return {verdict_count(name, decision): given[name, said] for name in judges for decision, said in DECISIONS.items()}


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(values).to_pylist()}
