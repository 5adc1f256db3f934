"""Retry of verdicts that a run's own judges failed to give: their samples return to the queue of the judges.

A judge behind an API can be unreachable for hours. Its verdicts are then missing, each with its reason. When the
command is rerun, `requeue` moves these samples from `samples/` to the first stage. The judges read them there, and
nothing is generated again.

A crash between the two writes leaves a sample in both folders, which the next attempt repairs. It loses none.
"""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.runs.file_index import RowFilter, RowKind, repair_and_index, with_error
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import Folder
from safechain_ray.types import NO_FAILURE, as_samples, short_hash, without_verdicts


def with_failed_verdict(judges: Collection[str]) -> RowFilter:
    """Samples with a verdict that one of these judges failed to give. A sample without a text to judge is none of them.

    Example:
        failed = with_failed_verdict(["llama-guard-3-8b"])(table)  # a bool for each row
    """

    def found(table: pa.Table) -> list[bool]:
        verdicts = table["verdicts"].combine_chunks()
        rows = pc.list_parent_indices(verdicts)
        fields = pc.list_flatten(verdicts)
        error = pc.struct_field(fields, "error")
        is_failed = pc.fill_null(pc.invert(pc.match_substring_regex(error, NO_FAILURE)), False)
        is_theirs = pc.is_in(pc.struct_field(fields, "judge"), pa.array(sorted(judges), pa.string()))
        failed = set(rows.filter(pc.and_(is_failed, is_theirs)).to_pylist())
        return [row in failed for row in range(table.num_rows)]

    return found


def unfinished(judges: Collection[str]) -> RowKind:
    """Samples that count as failed if they ended with an error, or if a verdict of these judges failed."""
    failed_verdict = with_failed_verdict(judges)

    def failed(table: pa.Table) -> list[bool]:
        return [error or missing for error, missing in zip(with_error(table), failed_verdict(table), strict=True)]

    return RowKind(failed=failed)


def requeue(folder: RunFolder, judges: Collection[str]) -> set[str]:
    """Move samples with a failed verdict of these judges to the first stage, without verdicts. Returns their ids.

    The folder is repaired: each sample is in exactly one file.
    """
    is_failed = with_failed_verdict(judges)
    moved: set[str] = set()
    for name in folder.samples.list_files(".parquet"):
        table = as_samples(folder.samples.read_parquet(name))
        failed = pa.array(is_failed(table), pa.bool_())
        waiting = table.filter(failed)
        if not waiting.num_rows:
            continue
        ids = waiting["sample_id"].to_pylist()
        folder.stage(0).write_parquet(f"retry-{short_hash(*ids)}.parquet", without_verdicts(waiting))
        _keep(folder.samples, name, table.filter(pc.invert(failed)))
        moved.update(ids)
    return moved


def queued(folder: RunFolder) -> Iterator[str]:
    """The ids of samples that wait for their judges in the first stage. Verdicts of added judges on them stay valid."""
    yield from repair_and_index(folder.stage(0), retry_errors=False).completed


def _keep(folder: Folder, name: str, rest: pa.Table) -> None:
    """Replace a file by one with these rows only."""
    if rest.num_rows:
        folder.write_parquet(f"part-{short_hash(name, *rest['sample_id'].to_pylist())}.parquet", rest)
    folder.delete(name)
