"""Prometheus metrics of a run, served by the metrics endpoint of Ray on every node.

The driver exports them once a second from counts that it has already, so that rows and workers have no extra cost.
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

EXPORT_INTERVAL = 1.0
RAYS_PREFIX = "ray_"
"""Ray's prefix of the name of every series."""

OUTCOMES = ("ok", "truncated", "blocked", "error")
COMMITS = "commit"
"""The value of the label `pool` for rows that wait to be committed."""

Labels = tuple[str, ...]
Reading = dict[tuple[str, Labels], float]
"""Values by name of the series and by the values of its own labels, without `run` and `model`."""


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One series. Its labels are `run` (the folder), `model` and `labels`."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: Labels
    description: str

    @property
    def exported(self) -> str:
        """The name in Prometheus."""
        return f"{RAYS_PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


SERIES = (
    MetricSeries("safechain_pool_rows", "counter", ("pool",), "Rows that a pool has finished"),
    MetricSeries("safechain_pool_tokens", "counter", ("pool",), "Tokens that a pool's engines have generated"),
    MetricSeries("safechain_engine_restarts", "counter", ("pool",), "Engines that died and were started again"),
    MetricSeries("safechain_requests", "counter", ("pool",), "Requests to an API, those sent again included"),
    MetricSeries("safechain_retries", "counter", ("pool",), "Requests to an API that were sent again"),
    MetricSeries("safechain_cost_dollars", "counter", ("pool",), "What was paid to an API's provider"),
    MetricSeries("safechain_committed_rows", "counter", ("outcome",), "Samples in the run's folder, by outcome"),
    MetricSeries("safechain_committed_tokens", "counter", (), "Generated tokens of the committed samples"),
    MetricSeries(
        "safechain_verdicts", "counter", ("judge", "decision"), "Verdicts on harmful prompts, missing ones on all"
    ),
    MetricSeries("safechain_rows_in_flight", "gauge", ("pool",), "Rows that a pool holds"),
    MetricSeries("safechain_rows_waiting", "gauge", ("pool",), "Rows that wait for a pool, or to be committed"),
    MetricSeries("safechain_replicas_ready", "gauge", ("pool",), "Replicas of a pool whose engine is ready"),
    MetricSeries("safechain_stage_rows", "gauge", (), "Rows of the current stage, those of earlier attempts included"),
    MetricSeries("safechain_stage_rows_finished", "gauge", (), "Rows of the current stage that are finished"),
)

_COUNTER_OF_SERIES = {
    "safechain_pool_rows": "rows_out",
    "safechain_pool_tokens": "tokens",
    "safechain_engine_restarts": "engine_restarts",
    "safechain_requests": "requests",
    "safechain_retries": "retries",
    "safechain_cost_dollars": "cost_microdollars",
}


def pool_sums(progress: Mapping[str, PoolProgress]) -> Reading:
    """Monotonic sums of the pools' counters."""
    reading: Reading = {}
    for name, count in _COUNTER_OF_SERIES.items():
        for pool, seen in progress.items():
            value = float(seen.counts[count])
            reading[name, (pool,)] = value / 1e6 if count == "cost_microdollars" else value
    return reading


def committed_sums(committed: Mapping[str, int], judges: Sequence[str]) -> Reading:
    """Monotonic sums of one stage's commits."""
    reading: Reading = {("safechain_committed_rows", (name,)): float(committed.get(name, 0)) for name in OUTCOMES}
    reading["safechain_committed_tokens", ()] = float(committed.get("tokens", 0))
    for judge in judges:
        for decision in DECISIONS:
            count = committed.get(verdict_count(judge, decision), 0)
            reading["safechain_verdicts", (judge, decision)] = float(count)
    return reading


def gauge_values(stage: Stage, progress: Mapping[str, PoolProgress], committed: Mapping[str, int]) -> Reading:
    """Values of the gauges: queued and running rows and ready replicas of each pool, and rows of the stage."""
    rows = committed.get("rows", 0)
    reading: Reading = {
        ("safechain_stage_rows", ()): float(stage.total),
        ("safechain_stage_rows_finished", ()): float(stage.done_before + rows),
    }
    arrived = stage.total - stage.done_before
    for pool in stage.pools:
        seen = progress.get(pool, PoolProgress())
        started, done = seen.counts["rows_in"], seen.counts["rows_out"]
        reading["safechain_rows_in_flight", (pool,)] = float(max(0, started - done))
        reading["safechain_rows_waiting", (pool,)] = float(max(0, arrived - started))
        reading["safechain_replicas_ready", (pool,)] = float(seen.ready)
        arrived = done
    reading["safechain_rows_waiting", (COMMITS,)] = float(max(0, arrived - rows))
    return reading


class MetricsExporter:
    """Exports the series of one run from the driver: differences of sums for counters, values for gauges."""

    def __init__(self, run: str, model: str, clock: Callable[[], float] = time.monotonic) -> None:
        # Created for every run: `ray.shutdown` ends the instruments.
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
        """Give a function that takes the stage's commits and the pools' progress, and exports them once a second."""
        counted: Reading = {}
        last: tuple[Mapping[str, int], Mapping[str, PoolProgress]] = ({}, {})
        due = 0.0

        def export() -> None:
            committed, progress = last
            self._count(pool_sums(progress), self._counted_of_pools)
            if stage.is_last:
                self._count(committed_sums(committed, stage.judges), counted)
            self._set(gauge_values(stage, progress, committed))

        def update(committed: Mapping[str, int], progress: Mapping[str, PoolProgress]) -> None:
            nonlocal last, due
            last = (committed, progress)
            if self._clock() >= due:
                due = self._clock() + EXPORT_INTERVAL
                export()

        try:
            yield update
        finally:
            export()
            self._set(dict.fromkeys(gauge_values(stage, {}, {}), 0.0))

    def _count(self, sums: Reading, counted: Reading) -> None:
        """Add the growth of the sums since `counted` to the counters, and update `counted`."""
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
    """A label value as Ray requires it: ASCII, with all other characters percent-encoded as in a URL.

    Example:
        >>> ascii_label("/runs/modèle")
        '/runs/mod%C3%A8le'
    """
    return value if value.isascii() else quote(value, safe=PRINTABLE_ASCII, errors="backslashreplace")
