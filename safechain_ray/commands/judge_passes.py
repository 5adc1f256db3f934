"""Passes of judges over stored samples: one stream for each judge and for what it is asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster import pipeline
from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool, make_plan
from safechain_ray.cluster.stage import Stage
from safechain_ray.cluster.workers.judge import PartsOrPieces, RulesAndVotes
from safechain_ray.cluster.workers.writer import Commit
from safechain_ray.config import ResourcesConfig
from safechain_ray.runs.attempt import Attempt, RowStream
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.pools import judge_pool
from safechain_ray.runs.stored_rows import read_samples
from safechain_ray.runs.workload import Remaining

ANSWERED = ("ok", "truncated")
"""Outcomes of samples that have a response."""

TOKEN_COLUMNS = ("prompt_tokens", "thought_tokens", "answer_tokens")

Samples = Mapping[str, str]
"""From the id of a sample to its file."""


@dataclass(frozen=True, slots=True)
class JudgePass:
    """One judge, and the samples whose `parts` it judges. `rule` gives the verdicts of a judge without a pool."""

    judge: JudgeEntry
    parts: PartsOrPieces
    waiting: Samples
    writer: Commit
    rule: RulesAndVotes | None = None


def judgeable(folder: RunFolder) -> Iterator[tuple[str, str]]:
    """The ids of the samples that have a response, each with its file."""
    for name in folder.samples.list_files(".parquet"):
        table = read_samples(folder.samples, name, ["sample_id", "outcome"])
        answered = pc.is_in(table["outcome"], value_set=pa.array(ANSWERED))
        for sample_id in table.filter(answered)["sample_id"].to_pylist():
            yield sample_id, name


def remaining_passes(
    passes: Sequence[JudgePass], total: int, folder: RunFolder, resources: ResourcesConfig
) -> Remaining:
    """The passes as what is left of `total` samples, counted once for each judge. Each pass has the whole cluster."""
    left: dict[str, set[str]] = {}
    for each in passes:
        left.setdefault(each.judge.name, set()).update(each.waiting)

    def plan_on(view: ClusterView) -> Plan:
        tokens = _longest_sample(folder) if any(each.judge.engine for each in passes) else None
        plans = [_plan(each, resources, view, tokens) for each in passes]
        notes = dict.fromkeys(note for plan in plans for note in plan.notes)
        return Plan(tuple(stage for plan in plans for stage in plan.stages), tuple(notes))

    def streams(plan: Plan, attempt: Attempt) -> Iterator[RowStream]:
        for each, pools in zip(passes, plan.stages, strict=True):
            yield _stream(each, pools, folder, attempt)

    return Remaining(total, total - sum(map(len, left.values())), plan_on, streams)


def _longest_sample(folder: RunFolder) -> int | None:
    """Tokens of the longest prompt and response, as its model counted them; None where no tokens were counted."""
    longest = 0
    for table in folder.counted_samples(TOKEN_COLUMNS):
        counts = [pc.fill_null(table[column], 0) for column in TOKEN_COLUMNS]
        longest = max(longest, pc.max(reduce(pc.add, counts)).as_py() or 0)
    return longest or None


def _plan(each: JudgePass, resources: ResourcesConfig, view: ClusterView, tokens: int | None) -> Plan:
    """A stage with the judge's pool; without one for a rule. `tokens` bound a sample's prompt and response."""
    needs = judge_pool(each.judge, len(each.waiting), resources, view, tokens)
    return Plan(((),)) if needs is None else make_plan([needs], view)


def _stream(each: JudgePass, pools: tuple[PlannedPool, ...], folder: RunFolder, attempt: Attempt) -> RowStream:
    settings = attempt.settings
    samples = pipeline.unjudged(pipeline.stored_samples(folder.samples, each.waiting, settings.block_rows))
    for pool in pools:
        samples = pipeline.judge(samples, pool, each.judge, each.parts, settings)
    names = tuple(pool.needs.pool for pool in pools)
    return RowStream(samples, each.writer, Stage(names, len(each.waiting), judges=(each.judge.name,)), each.rule)
