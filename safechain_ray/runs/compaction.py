"""Compaction: merges the many small sample files of a finished run into few larger ones."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from safechain_ray.runs.folder import READERS
from safechain_ray.storage import FileFacts, Folder
from safechain_ray.types import short_hash

SMALL_BYTES = 4 * 2**20
"""Larger files stay as they are: a run of a million long samples is not written twice."""

MERGED_BYTES = 32 * 2**20
"""Most bytes of the files that become one; the driver holds their rows in memory."""


def compact(folder: Folder) -> None:
    """Merge the small Parquet files of `folder`, in which each row is there once.

    Each merged file is written before its parts are deleted. A crash in between leaves repeated rows, which the next
    `put_in_order` drops, and never loses one.
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
