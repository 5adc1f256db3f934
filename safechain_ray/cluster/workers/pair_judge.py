"""Pair judge: joins the samples of two runs, and asks a model which response of each pair is better."""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster.progress import ProgressReporter
from safechain_ray.cluster.workers.engine_supervisor import EngineSupervisor
from safechain_ray.cluster.workers.inflight_tracker import TrackerClient, current_row
from safechain_ray.engines.api import ApiStart
from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import EngineStartError, RowError
from safechain_ray.judges.preference import make_preference_judge, missing_preference
from safechain_ray.storage import Folder
from safechain_ray.types import Engine, Part, filter_by_ids
from safechain_ray.types.tables import PAIRS_SCHEMA, Preference, preferences_table

REQUESTS_A_PAIR = 2

READERS = 8
"""Files of run B that are read at the same time: the counterparts of one file of A are in many files of B."""


@dataclass(frozen=True, slots=True)
class StoredPair:
    """The ids and the files of the two samples of a pair."""

    sample_id: str
    file: str
    sample_id_b: str
    file_b: str


@dataclass(frozen=True, slots=True)
class PairReader:
    """Reads pairs from the folders of both runs' samples. `parts` are the compared parts of A and of B."""

    a: Folder
    b: Folder
    parts: tuple[Part, Part]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """From blocks of `StoredPair` to a table of `PAIRS_SCHEMA`. A missing part becomes an empty text."""
        pairs = [pair for block in batch["pairs"].to_pylist() for pair in block]
        of_a = _read(self.a, {pair["sample_id"]: pair["file"] for pair in pairs}, self.parts[0])
        of_b = _read(self.b, {pair["sample_id_b"]: pair["file_b"] for pair in pairs}, self.parts[1])
        rows = []
        for pair in pairs:
            a, b = of_a[pair["sample_id"]], of_b[pair["sample_id_b"]]
            more = {"sample_id_b": b["sample_id"], "setting_id_b": b["setting_id"]}
            rows.append({**a, **more, "a": a[self.parts[0]] or "", "b": b[self.parts[1]] or ""})
        return pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)


class PairJudgeWorker:
    """A worker of a preference judge's pool, with an engine of its own or an API's.

    `key` is the endpoint's key from the driver's environment, as other nodes may lack it.
    """

    def __init__(
        self,
        entry: JudgeEntry,
        parts: tuple[Part, Part],
        start: EngineStart | ApiStart,
        start_engine: Callable[[Any], Engine],
        max_deaths: int,
        key: SecretStr | None,
        progress_tracker: Any,
        inflight_tracker: Any,
    ) -> None:
        if key is not None and entry.endpoint is not None:
            os.environ[entry.endpoint.api_key_env] = key.get_secret_value()
        self._entry = entry
        self._parts = parts
        self._reporter = ProgressReporter(progress_tracker, entry.name)
        self._supervisor = EngineSupervisor(
            start, start_engine, self._reporter, TrackerClient(inflight_tracker, entry.name), max_deaths
        )

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """From a table of `PAIRS_SCHEMA` to one of `PREFERENCES_SCHEMA`."""
        self._supervisor.check()
        rows = batch.select(["sample_id", "prompt", "a", "b"]).to_pylist()
        self._reporter.add(rows_in=len(rows))
        async with self._supervisor.claim([row["sample_id"] for row in rows]):
            decided = await asyncio.gather(*map(self._decide, rows))
        self._reporter.report()
        return preferences_table(batch, decided)

    async def _decide(self, row: Mapping[str, str]) -> Preference:
        """The decision on one pair. A failure becomes the error of the row, not of its block."""
        current_row.set(row["sample_id"])
        prompt, a, b = row["prompt"], row["a"], row["b"]
        texts = zip(self._parts, "AB", (a, b), strict=True)
        empty = [f"the {part} of {name} is empty" for part, name, text in texts if not text.strip()]
        try:
            if empty:
                raise RowError(f"nothing to compare: {', '.join(empty)}")
            # Built for each row: an engine that did not start has no context length yet.
            decided = await make_preference_judge(self._entry, self._supervisor).prefer(prompt, a, b)
        except EngineStartError:
            raise
        except RowError as error:
            decided = missing_preference(self._entry.name, str(error))
        except Exception as error:
            decided = missing_preference(self._entry.name, f"{type(error).__name__}: {error}")
        self._reporter.add(rows_out=1, judge_errors=int(decided.outcome == "error"))
        return decided


def preference_counts(batch: pa.Table) -> dict[str, int]:
    """The counts that the driver receives for a block of `PREFERENCES_SCHEMA`."""
    outcomes = {row["values"]: row["counts"] for row in pc.value_counts(batch["outcome"]).to_pylist()}
    decided = {outcome: outcomes.get(outcome, 0) for outcome in ("win", "tie", "lose")}
    return {"rows": batch.num_rows, **decided, "missing": outcomes.get("error", 0)}


def _read(folder: Folder, files: Mapping[str, str], part: Part) -> dict[str, dict[str, Any]]:
    """The rows named in `files` (sample_id -> file) by sample_id, with the columns that a pair needs."""
    wanted: dict[str, list[str]] = {}
    for sample_id, name in files.items():
        wanted.setdefault(name, []).append(sample_id)
    columns = [name for name in PAIRS_SCHEMA.names if name not in ("sample_id_b", "setting_id_b", "a", "b")]

    def rows(name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = filter_by_ids(
            folder.read_parquet(name, [*columns, part]), wanted[name]
        ).to_pylist()
        return found

    with ThreadPoolExecutor(READERS) as readers:
        return {row["sample_id"]: row for found in readers.map(rows, wanted) for row in found}
