"""The files of a training set: its rows as Parquet in the order of the choice, whatever their number; its record."""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray import __version__
from safechain_ray.curation.rows import ROWS_SCHEMA, RowFormat
from safechain_ray.curation.selection import Chosen
from safechain_ray.runs.record import git_revision
from safechain_ray.runs.stored_record import stored_record
from safechain_ray.storage import Folder
from safechain_ray.types import only

RECORD = "dataset.json"

ROWS_A_FILE = 10_000

MEND = (
    "Give another --output, or the config that the folder was made with. With --run another data set is chosen from "
    "the same responses."
)


class DatasetRecord:
    """The dataset.json of one folder: whose it is from the start, and what it came to at the end."""

    def __init__(self, folder: Folder, content: dict[str, Any]) -> None:
        self._folder = folder
        self._content = content

    @classmethod
    def opened(cls, folder: Folder, identity: dict[str, Any], config: dict[str, Any]) -> "DatasetRecord":
        """The folder's record, or a new one. Raises RunConflictError for a folder of another identity."""
        stored_record(folder, RECORD, identity, "data set", MEND)
        made_by = {"safechain_ray": __version__, "git_revision": git_revision()}
        record = cls(folder, {"identity": identity, "config": config, **made_by})
        record._write()
        return record

    def finished(self, facts: dict[str, Any]) -> None:
        """The rows are written: what they are."""
        self._content |= {"finished": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        self._write()

    def _write(self) -> None:
        self._folder.write_text(RECORD, json.dumps(self._content, indent=2) + "\n")


def write_rows(samples: Iterable[pa.Table], chosen: Sequence[Chosen], rows: RowFormat, data: Folder) -> list[str]:
    """Write the chosen of the `samples` into train-*.parquet of `data`, in their order; gives the files' names.

    A file's rows are in memory at a time, and what comes from the samples waits in local files meanwhile. Files of an
    earlier writing are deleted.
    """
    files = max(1, -(-len(chosen) // ROWS_A_FILE))
    place = {each.sample_id: number for number, each in enumerate(chosen)}
    by_id = {each.sample_id: each for each in chosen}
    names = [f"train-{number:05}-of-{files:05}.parquet" for number in range(files)]
    with TemporaryDirectory(prefix="safechain-ray-rows-") as spool:
        paths = [Path(spool) / name for name in names]
        with ExitStack() as stack:
            sinks = [stack.enter_context(pa.ipc.new_stream(str(path), ROWS_SCHEMA)) for path in paths]
            for table in samples:
                table = rows.rows(only(table, place.keys() & set(table["sample_id"].to_pylist())), by_id)
                targets = [place[sample_id] // ROWS_A_FILE for sample_id in table["sample_id"].to_pylist()]
                for target in sorted(set(targets)):
                    sinks[target].write_table(table.filter(pa.array([each == target for each in targets])))
        for path in paths:
            with pa.ipc.open_stream(str(path)) as source:
                table = source.read_all()
            order = pa.array([place[sample_id] for sample_id in table["sample_id"].to_pylist()], pa.int64())
            data.write_parquet(path.name, table.take(pc.sort_indices(order)))
    for stale in set(data.list_files(".parquet")) - set(names):
        data.delete(stale)
    return names
