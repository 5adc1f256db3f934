"""Judging in the stream: an actor with an engine for each model that judges, a plain function for the rest."""

import asyncio
from functools import cache
from typing import Any

import pyarrow as pa

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster.engine_host import EngineHost
from safechain_ray.cluster.tally import Reporter
from safechain_ray.engines.start import EngineStart, StartEngine
from safechain_ray.judges.base import judge_sample, make_judge
from safechain_ray.schema import Part, Sample, Verdict, samples_from_table, with_verdicts


class EngineJudge:
    """One engine of a judge's pool. A call takes a block of samples and returns it with this judge's verdicts."""

    def __init__(
        self,
        entry: JudgeEntry,
        parts: tuple[Part, ...],
        start: EngineStart,
        start_engine: StartEngine,
        max_deaths: int,
        tally: Any,
    ) -> None:
        self._parts = parts
        self._reporter = Reporter(tally, entry.name)
        self._host = EngineHost(start, start_engine, self._reporter, max_deaths)
        self._judge = make_judge(entry, self._host)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        self._host.check()
        samples = samples_from_table(batch)
        self._reporter.add(rows_in=len(samples))
        verdicts = await asyncio.gather(*(self._verdicts(sample) for sample in samples))
        self._reporter.report()
        return with_verdicts(batch, verdicts)

    async def _verdicts(self, sample: Sample) -> tuple[Verdict, ...]:
        verdicts = await judge_sample(self._judge, sample, self._parts)
        self._reporter.add(rows_out=1, judge_errors=sum(verdict.unsafe is None for verdict in verdicts))
        return verdicts


class RuleJudges:
    """Judges without an engine, as one plain function over a block, so that it runs in the task that commits."""

    def __init__(self, entries: tuple[JudgeEntry, ...], parts: tuple[Part, ...]) -> None:
        # Made on the driver, and sent along: a file of phrases need not be there on other nodes.
        self._judges = [make_judge(entry, None) for entry in entries]
        self._parts = parts

    def __call__(self, batch: pa.Table) -> pa.Table:
        if not self._judges:
            return batch
        return _event_loop().run_until_complete(self._judged(batch))

    async def _judged(self, batch: pa.Table) -> pa.Table:
        samples = samples_from_table(batch)
        verdicts = [
            [v for judge in self._judges for v in await judge_sample(judge, sample, self._parts)] for sample in samples
        ]
        return with_verdicts(batch, verdicts)


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """One loop a worker process: making and closing one costs more than judging a block by rules."""
    return asyncio.new_event_loop()
