"""The rows of a run, sorted into the logs that they belong to, on local disk: memory holds the rows of one log.

A log has the rows of one setting. A setting with more rows than a log may have is split by prompts, so that all
samples of a prompt are in one log.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.errors import InputError
from safechain_ray.sharing.run import SharedRun
from safechain_ray.types import SAMPLES_SCHEMA, VERDICTS_SCHEMA, Setting

MOST_LOGS = 200
"""Each log is an open file while the rows are sorted, and macOS allows a process 256 open files by default."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """The prompts of one log: part `number` (from 1) of `parts` of its setting."""

    setting: Setting
    number: int
    parts: int
    prompt_ids: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return self.parts == 1


def plan_parts(run: SharedRun, rows_a_log: int) -> list[LogPart]:
    """The logs of a run, with at most `rows_a_log` rows each, or one prompt. Settings without a row have no log.

    Raises InputError where there would be too many logs.
    """
    prompts: dict[str, set[str]] = {setting.setting_id: set() for setting in run.manifest.settings}
    for table in run.folder.counted_samples(["setting_id", "prompt_id"]):
        for row in table.group_by(["setting_id", "prompt_id"]).aggregate([]).to_pylist():
            prompts.setdefault(row["setting_id"], set()).add(row["prompt_id"])
    parts = [
        part
        for setting in run.manifest.settings
        for part in _parts_of(setting, sorted(prompts[setting.setting_id], key=_in_order), rows_a_log)
    ]
    if len(parts) > MOST_LOGS:
        raise InputError(
            f"{run.folder.folder} would be {len(parts):,} logs, and at most {MOST_LOGS} can be written at a time. "
            "Fix: give a larger --samples-per-log."
        )
    return parts


def _parts_of(setting: Setting, prompt_ids: Sequence[str], rows_a_log: int) -> Iterator[LogPart]:
    size = max(1, rows_a_log // setting.samples)
    starts = range(0, len(prompt_ids), size)
    for number, start in enumerate(starts, 1):
        yield LogPart(setting, number, len(starts), tuple(prompt_ids[start : start + size]))


def _in_order(prompt_id: str) -> tuple[int, str]:
    """Numbers in their order: 2 before 10."""
    return len(prompt_id), prompt_id


class Spool:
    """Local files with the rows of each log."""

    def __init__(self, folder: Path, parts: Sequence[LogPart]) -> None:
        self._folder = folder
        self._parts = parts

    def fill(self, run: SharedRun) -> None:
        """Read all rows of the run once and sort them into the files."""
        samples = run.folder.counted_samples(SAMPLES_SCHEMA.names)
        self._sort("samples", SAMPLES_SCHEMA, samples)
        self._sort("verdicts", VERDICTS_SCHEMA, run.added_verdicts(run.manifest.added_judges))

    def samples(self, number: int) -> pa.Table:
        """The samples of log `number`, in the order of prompts, then of samples."""
        table = self._read("samples", number)
        places = {prompt_id: place for place, prompt_id in enumerate(self._parts[number].prompt_ids)}
        place = pa.array([places[prompt_id] for prompt_id in table["prompt_id"].to_pylist()], pa.int64())
        ordered = table.append_column("place", place)
        return ordered.sort_by([("place", "ascending"), ("sample_index", "ascending")]).drop_columns("place")

    def verdicts(self, number: int) -> pa.Table:
        """The verdicts on the samples of log `number` that were added after the run."""
        return self._read("verdicts", number)

    def _sort(self, kind: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        by_setting: dict[str, list[int]] = {}
        for number, part in enumerate(self._parts):
            by_setting.setdefault(part.setting.setting_id, []).append(number)
        with ExitStack() as stack:
            paths = [str(self._path(kind, number)) for number in range(len(self._parts))]
            sinks = [stack.enter_context(pa.ipc.new_stream(path, schema)) for path in paths]
            for table in tables:
                for setting_id in pc.unique(table["setting_id"]).to_pylist():
                    rows = table.filter(pc.equal(table["setting_id"], setting_id))
                    for number in by_setting.get(setting_id, ()):
                        of_part = pa.array(self._parts[number].prompt_ids, pa.string())
                        sinks[number].write_table(rows.filter(pc.is_in(rows["prompt_id"], of_part)))

    def _read(self, kind: str, number: int) -> pa.Table:
        with pa.ipc.open_stream(str(self._path(kind, number))) as source:
            return source.read_all()

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number}.arrow"
