"""Splits the sample files of a run, to restore the layout before compaction."""

from pathlib import Path

import pyarrow.parquet as pq


def in_blocks(samples: Path, rows: int) -> list[Path]:
    """Split the Parquet files of a finished run into files of `rows` rows, as they were before compaction."""
    parts = []
    for path in sorted(samples.glob("*.parquet")):
        table = pq.read_table(path)
        path.unlink()
        for start in range(0, table.num_rows, rows):
            parts.append(samples / f"part-{path.stem}-{start:06}.parquet")
            pq.write_table(table.slice(start, rows), parts[-1], write_page_checksum=True)
    return parts
