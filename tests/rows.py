"""A row of `samples` for tests that only care about some of its columns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from safechain_ray.types import Sample

PLAIN = Sample(
    sample_id="s",
    setting_id="set",
    model="m",
    dataset="d",
    prompt_id="p",
    category="c",
    prompt="Q",
    strategy="default",
    sample_index=0,
    temperature=0.0,
    top_p=1.0,
    top_k=-1,
    max_tokens=10,
    seed=None,
    thought="Hm.",
    answer="Hi.",
    response="<think>\nHm.\n</think>\n\nHi.",
    prefill="",
    outcome="ok",
    finish_reason="stop",
    error=None,
    prompt_tokens=1,
    thought_tokens=1,
    answer_tokens=1,
    forced_rounds=0,
    seconds=0.0,
    engine="e",
)


def row(**columns: Any) -> Sample:
    """A finished sample with these columns."""
    return replace(PLAIN, **columns)


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
