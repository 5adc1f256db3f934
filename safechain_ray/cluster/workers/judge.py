"""Judge workers: an actor for each engine or endpoint that judges, and a plain function for rules and votes."""

import asyncio
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pyarrow as pa
from pydantic import SecretStr

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster.progress import ProgressReporter
from safechain_ray.cluster.workers.engine_supervisor import EngineSupervisor, gc_freeze
from safechain_ray.cluster.workers.inflight_tracker import TrackerClient, current_row
from safechain_ray.engines.api import ApiStart
from safechain_ray.engines.start import EngineStart
from safechain_ray.judges.base import (
    BuildJudge,
    Judge,
    ThoughtPrefixes,
    Vote,
    count_votes,
    judge_prefixes,
    judge_sample,
    make_judge,
)
from safechain_ray.types import Engine, Part, Sample, Verdict, samples_from_table, with_verdicts

PartsOrPieces = tuple[Part, ...] | ThoughtPrefixes
"""What a judge reads of each sample: parts of the response, or growing prefixes of the thought."""


class JudgeWorker:
    """A worker of a judge's pool. A call takes a block of samples and returns it with this judge's verdicts."""

    def __init__(self, judge: Judge, parts: PartsOrPieces, reporter: ProgressReporter) -> None:
        self._judge = judge
        self._parts = parts
        self._reporter = reporter
        gc_freeze()

    async def __call__(self, batch: pa.Table) -> pa.Table:
        samples = samples_from_table(batch)
        self._reporter.add(rows_in=len(samples))
        verdicts = await asyncio.gather(*(self._verdicts(sample) for sample in samples))
        self._reporter.report()
        return with_verdicts(batch, verdicts)

    async def _verdicts(self, sample: Sample) -> tuple[Verdict, ...]:
        current_row.set(sample.sample_id)
        if isinstance(self._parts, ThoughtPrefixes):
            verdicts = await judge_prefixes(self._judge, sample, self._parts)
        else:
            verdicts = await judge_sample(self._judge, sample, self._parts)
        self._reporter.add(rows_out=1, judge_errors=sum(verdict.has_failed for verdict in verdicts))
        return verdicts


class EngineJudge(JudgeWorker):
    """A worker with an engine of its own, or with the chat API at its endpoint.

    `key` is the endpoint's key from the driver's environment, as other nodes may lack it. `build` is looked up on the
    driver too: other nodes may lack a user's catalog.
    """

    def __init__(
        self,
        entry: JudgeEntry,
        parts: PartsOrPieces,
        start: EngineStart | ApiStart,
        start_engine: Callable[[Any], Engine],
        max_deaths: int,
        progress_tracker: Any,
        inflight_tracker: Any,
        build: BuildJudge = make_judge,
        key: SecretStr | None = None,
    ) -> None:
        _put_key(entry, key)
        reporter = ProgressReporter(progress_tracker, entry.name)
        self._supervisor = EngineSupervisor(
            start, start_engine, reporter, TrackerClient(inflight_tracker, entry.name), max_deaths
        )
        super().__init__(build(entry, self._supervisor), parts, reporter)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        self._supervisor.check()
        async with self._supervisor.claim(batch["sample_id"].to_pylist()):
            return await super().__call__(batch)


class EndpointJudge(JudgeWorker):
    """A worker that sends requests to a server. `key` is from the driver's environment, as other nodes may lack it."""

    def __init__(
        self,
        entry: JudgeEntry,
        parts: PartsOrPieces,
        key: SecretStr | None,
        progress_tracker: Any,
        build: BuildJudge = make_judge,
    ) -> None:
        _put_key(entry, key)
        reporter = ProgressReporter(progress_tracker, entry.name)
        super().__init__(build(entry, None), parts, reporter)
        reporter.set_ready(True)


def _put_key(entry: JudgeEntry, key: SecretStr | None) -> None:
    if key is not None and entry.endpoint is not None:
        os.environ[entry.endpoint.api_key_env] = key.get_secret_value()


class RulesAndVotes:
    """Judges without a model, then votes over all verdicts of a row, as one plain function over a block.

    The function runs in the task that commits the block, after all pools of judges.
    """

    def __init__(self, rules: tuple[JudgeEntry, ...], votes: tuple[Vote, ...], parts: tuple[Part, ...]) -> None:
        # Built on the driver and pickled: other nodes need not have a file of phrases.
        self._judges = [make_judge(rule, None) for rule in rules]
        self._votes = votes
        self._parts = parts

    def __call__(self, batch: pa.Table) -> pa.Table:
        if not self._judges and not self._votes:
            return batch
        return _event_loop().run_until_complete(self._judged(batch))

    async def _judged(self, batch: pa.Table) -> pa.Table:
        return with_verdicts(batch, [await self._verdicts(sample) for sample in samples_from_table(batch)])

    async def _verdicts(self, sample: Sample) -> list[Verdict]:
        by_rules = [v for judge in self._judges for v in await judge_sample(judge, sample, self._parts)]
        verdicts = (*sample.verdicts, *by_rules)
        return by_rules + [count_votes(vote, part, verdicts) for vote in self._votes for part in self._parts]


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """One event loop for each worker process: creating a loop costs more than judging a block by rules."""
    return asyncio.new_event_loop()
