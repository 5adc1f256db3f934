"""The rows of a folder in files of equal size: how many files a run commits is a matter of timing."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def in_equal_files(folder: Path, files: int) -> list[Path]:
    """Write the rows of a folder anew, `files` of them with equally many rows each."""
    old = sorted(folder.glob("*.parquet"))
    whole = pa.concat_tables(map(pq.read_table, old))
    for file in old:
        file.unlink()
    size, rest = divmod(len(whole), files)
    assert rest == 0
    new = [folder / f"part-{number}.parquet" for number in range(files)]
    for number, file in enumerate(new):
        pq.write_table(whole.slice(number * size, size), file)
    return new
