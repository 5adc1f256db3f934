"""What a run tells Prometheus while it works, as series that Ray's own metrics endpoint serves on every node.

The driver records them, once a second, from the figures that it has anyway: no row and no worker pays for them.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from ray.util.metrics import Counter, Gauge

from safechain_ray.cluster.progress import PoolProgress, Stage
from safechain_ray.cluster.workers.writer import DECISIONS, verdict_count

PRINTABLE_ASCII = "".join(map(chr, range(32, 127)))

EXPORT_SECONDS = 1.0
RAYS_PREFIX = "ray_"
"""Ray puts it before the name of every series."""

OUTCOMES = ("ok", "truncated", "blocked", "error")
COMMITS = "commit"
"""Stands for a pool where rows wait to be committed."""

Labels = tuple[str, ...]
Reading = dict[tuple[str, Labels], float]
"""By series and by the values of its own labels (those after `run` and `model`)."""


@dataclass(frozen=True, slots=True)
class MetricsExporter:
    """One series. Each has the labels `run` (its folder) and `model`, and these."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: Labels
    description: str

    @property
    def exported(self) -> str:
        """The name under which Prometheus knows it."""
        return f"{RAYS_PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


SERIES = (
    MetricsExporter("safechain_pool_rows", "counter", ("pool",), "Rows that a pool has finished"),
    MetricsExporter("safechain_pool_tokens", "counter", ("pool",), "Tokens that a pool's engines have generated"),
    MetricsExporter("safechain_engine_restarts", "counter", ("pool",), "Engines that died and were started again"),
    MetricsExporter("safechain_requests", "counter", ("pool",), "Requests to an API, those sent again included"),
    MetricsExporter("safechain_retries", "counter", ("pool",), "Requests to an API that were sent again"),
    MetricsExporter("safechain_cost_dollars", "counter", ("pool",), "What was paid to an API's provider"),
    MetricsExporter(
        "safechain_committed_rows", "counter", ("outcome",), "Samples that stand in the run's folder, by outcome"
    ),
    MetricsExporter("safechain_committed_tokens", "counter", (), "Generated tokens of the committed samples"),
    MetricsExporter(
        "safechain_verdicts", "counter", ("judge", "decision"), "Verdicts on harmful prompts, missing ones on all"
    ),
    MetricsExporter("safechain_rows_in_flight", "gauge", ("pool",), "Rows that a pool holds"),
    MetricsExporter("safechain_rows_waiting", "gauge", ("pool",), "Rows that wait for a pool, or to be committed"),
    MetricsExporter("safechain_replicas_ready", "gauge", ("pool",), "Replicas of a pool whose engine is ready"),
    MetricsExporter(
        "safechain_stage_rows", "gauge", (), "Rows that the stage at work is to finish, earlier tries' included"
    ),
    MetricsExporter("safechain_stage_rows_finished", "gauge", (), "Rows of it that are finished"),
)

_OF_COUNTS = {
    "safechain_pool_rows": "rows_out",
    "safechain_pool_tokens": "tokens",
    "safechain_engine_restarts": "engine_restarts",
    "safechain_requests": "requests",
    "safechain_retries": "retries",
    "safechain_cost_dollars": "cost_microdollars",
}


def pool_sums(progress: Mapping[str, PoolProgress]) -> Reading:
    """What the pools did, sums that only grow."""
    reading: Reading = {}
    for name, count in _OF_COUNTS.items():
        for pool, seen in progress.items():
            value = float(seen.counts[count])
            reading[name, (pool,)] = value / 1e6 if count == "cost_microdollars" else value
    return reading


def committed_sums(committed: Mapping[str, int], judges: Sequence[str]) -> Reading:
    """What one stage committed, sums that only grow."""
    reading: Reading = {("safechain_committed_rows", (name,)): float(committed.get(name, 0)) for name in OUTCOMES}
    reading["safechain_committed_tokens", ()] = float(committed.get("tokens", 0))
    for judge in judges:
        for decision in DECISIONS:
            count = committed.get(verdict_count(judge, decision), 0)
            reading["safechain_verdicts", (judge, decision)] = float(count)
    return reading


def levels(stage: Stage, progress: Mapping[str, PoolProgress], committed: Mapping[str, int]) -> Reading:
    """What holds now: rows in each pool and before it, ready replicas, and how far the stage is."""
    rows = committed.get("rows", 0)
    reading: Reading = {
        ("safechain_stage_rows", ()): float(stage.total),
        ("safechain_stage_rows_finished", ()): float(stage.done_before + rows),
    }
    arrived = stage.total - stage.done_before
    for pool in stage.pools:
        seen = progress.get(pool, PoolProgress())
        begun, done = seen.counts["rows_in"], seen.counts["rows_out"]
        reading["safechain_rows_in_flight", (pool,)] = float(max(0, begun - done))
        reading["safechain_rows_waiting", (pool,)] = float(max(0, arrived - begun))
        reading["safechain_replicas_ready", (pool,)] = float(seen.ready)
        arrived = done
    reading["safechain_rows_waiting", (COMMITS,)] = float(max(0, arrived - rows))
    return reading


class RunMetricsExporter:
    """The series of one run, recorded by its driver from the sums of its tally and of its commits."""

    def __init__(self, run: str, model: str, clock: Callable[[], float] = time.monotonic) -> None:
        # Made anew for every run: a Ray that was shut down takes the instruments with it.
        self._instruments: dict[str, Any] = {
            series.name: (Counter if series.kind == "counter" else Gauge)(
                series.name, series.description, ("run", "model", *series.labels)
            )
            for series in SERIES
        }
        self._names = {"run": run, "model": model}
        self._labels = {series.name: series.labels for series in SERIES}
        self._clock = clock
        self._counted_of_pools: Reading = {}

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[Callable[[Mapping[str, int], Mapping[str, PoolProgress]], None]]:
        """Gives what is to be called, as often as one likes, with the stage's commits and the pools' progress."""
        counted: Reading = {}
        last: tuple[Mapping[str, int], Mapping[str, PoolProgress]] = ({}, {})
        due = 0.0

        def export() -> None:
            committed, progress = last
            self._count(pool_sums(progress), self._counted_of_pools)
            if stage.is_last:
                self._count(committed_sums(committed, stage.judges), counted)
            self._set(levels(stage, progress, committed))

        def update(committed: Mapping[str, int], progress: Mapping[str, PoolProgress]) -> None:
            nonlocal last, due
            last = (committed, progress)
            if self._clock() >= due:
                due = self._clock() + EXPORT_SECONDS
                export()

        try:
            yield update
        finally:
            export()
            self._set(dict.fromkeys(levels(stage, {}, {}), 0.0))

    def _count(self, sums: Reading, counted: Reading) -> None:
        """Count what the sums have grown by since `counted`, and note it there."""
        for key, value in sums.items():
            growth = value - counted.get(key, 0.0)
            if growth > 0:
                self._instruments[key[0]].inc(growth, self._tags(key))
                counted[key] = value

    def _set(self, reading: Reading) -> None:
        for key, value in reading.items():
            self._instruments[key[0]].set(value, self._tags(key))

    def _tags(self, key: tuple[str, Labels]) -> dict[str, str]:
        name, values = key
        tags = self._names | dict(zip(self._labels[name], values, strict=True))
        return {label: ascii_label(value) for label, value in tags.items()}


def ascii_label(value: str) -> str:
    """A label value as Ray takes it: ASCII only, with all other characters percent-encoded as in a URL.

    Example:
        >>> ascii_label("/runs/modèle")
        '/runs/mod%C3%A8le'
    """
    return value if value.isascii() else quote(value, safe=PRINTABLE_ASCII, errors="backslashreplace")
