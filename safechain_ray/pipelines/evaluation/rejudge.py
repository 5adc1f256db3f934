"""Adds judges to a finished run: verdicts in files of their own, joined on sample_id; nothing is generated again."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster.planner import ClusterView, PlannedPool, make_plan
from safechain_ray.cluster.session import cluster_address, ray_session, view_cluster, view_local
from safechain_ray.cluster.streaming import stream
from safechain_ray.cluster.streaming.series import RunSeries
from safechain_ray.cluster.streaming.stage import Stage
from safechain_ray.cluster.streaming.stream_control import StreamControl
from safechain_ray.cluster.streaming.watchdog import Watchdog
from safechain_ray.cluster.tally import PoolProgress, start_tally
from safechain_ray.cluster.workers.commit import Benign, Commit, block_counts
from safechain_ray.cluster.workers.judging import PartsOrPieces, RulesAndVotes
from safechain_ray.config import JudgingConfig, ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.pipelines.runs.later_verdicts import put_verdicts_in_order, samples_in_order
from safechain_ray.pipelines.runs.observer import Observer, PoolNotes, Snapshot
from safechain_ray.pipelines.runs.outline import measure
from safechain_ray.pipelines.runs.output import held_output
from safechain_ray.pipelines.runs.pace import PoolRates
from safechain_ray.pipelines.runs.pools import judge_pool
from safechain_ray.pipelines.runs.pump import pump
from safechain_ray.pipelines.runs.resolve import check_parts, resolve_judge
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.pipelines.runs.run_record import RunRecord
from safechain_ray.pipelines.runs.stored_rows import read_samples, read_verdicts
from safechain_ray.schema import Part, verdicts_table
from safechain_ray.storage import open_folder

ANSWERED = ("ok", "truncated")
"""Outcomes of samples that have a response."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How adding judges ended. `committed` counts the samples judged in this try."""

    folder: RunFolder
    metrics: RunMetrics
    committed: int
    judges: tuple[str, ...]

    @property
    def failed(self) -> int:
        """Verdicts of these judges that are missing because the judge failed."""
        every = (judge for setting in self.metrics.settings for judge in setting.judges)
        return sum(judge.failed for judge in every if judge.judge in self.judges)


TOKEN_COLUMNS = ("prompt_tokens", "thought_tokens", "answer_tokens")


@dataclass(frozen=True, slots=True)
class Pass:
    """Samples that wait for the same to be judged by one judge.

    `waiting` maps their ids to their files, `step` commits the verdicts; `rule` gives those of a judge without a pool.
    """

    judge: JudgeEntry
    parts: PartsOrPieces
    waiting: Mapping[str, str]
    step: Commit
    rule: RulesAndVotes | None = None


def add_judges(run: str, config: JudgingConfig, observer: Observer, start_engine: StartEngine) -> Judging:
    """Judge the samples of the finished run in the folder `run`, going on where an earlier try was cut off.

    Samples without a response (errors, blocked ones) are left alone: their verdicts are missing. Raises InputError
    (PlanError and RunConflictError among it) before anything starts, and what a stream raises.
    """
    outline = RunRecord.of_finished(RunFolder(open_folder(run))).outline
    judges = tuple(resolve_judge(judge) for judge in config.judges)
    check_parts(config.parts, outline.model, outline.family)
    with held_output(run, config.resources, observer) as folder:
        return _add(judges, folder, config, observer, start_engine)


def _add(
    judges: tuple[JudgeEntry, ...],
    folder: RunFolder,
    config: JudgingConfig,
    observer: Observer,
    start_engine: StartEngine,
) -> Judging:
    record = RunRecord.of_finished(folder)
    for judge in judges:
        record.judge_added(judge, config.parts)
    names = tuple(judge.name for judge in judges)
    samples = samples_in_order(folder, observer)
    put_verdicts_in_order(folder, samples, observer, again=names, parts=config.parts)
    kinds = record.outline.kinds.items()
    benign: Benign = {name: kind.benign_categories or () for name, kind in kinds}
    passes = [each for judge in judges for each in _passes(folder, judge, config.parts, benign)]
    committed = 0
    if passes:
        committed = run_passes(passes, folder, record.outline.model, config.resources, observer, start_engine)
    else:
        observer.say("Every sample has these verdicts already: no engine is started.")
    metrics = measure(folder, record.outline)
    folder.folder.write_text("metrics.json", metrics.model_dump_json(indent=2) + "\n")
    return Judging(folder, metrics, committed, names)


def _passes(folder: RunFolder, judge: JudgeEntry, parts: tuple[Part, ...], benign: Benign) -> Iterator[Pass]:
    """What is left to do for a judge: one pass, or more where earlier tries left some parts of some samples."""
    held: defaultdict[str, set[str]] = defaultdict(set)
    verdicts = folder.verdicts(judge.name)
    for name in verdicts.list_files(".parquet"):
        table = read_verdicts(verdicts, name)
        for sample_id, part in zip(table["sample_id"].to_pylist(), table["part"].to_pylist(), strict=True):
            held[sample_id].add(part)
    waiting: defaultdict[tuple[Part, ...], dict[str, str]] = defaultdict(dict)
    for sample_id, name in judgeable(folder):
        missing = tuple(part for part in parts if part not in held[sample_id])
        if missing:
            waiting[missing][sample_id] = name
    for missing, files in waiting.items():
        rule = RulesAndVotes((judge,), (), missing) if judge.is_rule else None
        count = partial(block_counts, judges=(judge.name,), benign=benign)
        yield Pass(judge, missing, files, Commit(verdicts, verdicts_table, missing, count), rule)


def judgeable(folder: RunFolder) -> Iterator[tuple[str, str]]:
    """The ids of the samples that have a response, each with its file."""
    for name in folder.samples.list_files(".parquet"):
        table = read_samples(folder.samples, name, ["sample_id", "outcome"])
        answered = pc.is_in(table["outcome"], value_set=pa.array(ANSWERED))
        for sample_id in table.filter(answered)["sample_id"].to_pylist():
            yield sample_id, name


def run_passes(
    passes: list[Pass],
    folder: RunFolder,
    model: str,
    resources: ResourcesConfig,
    observer: Observer,
    start_engine: StartEngine,
) -> int:
    """Judge the samples of `model`, pass by pass on one cluster; gives the number of samples committed."""
    tokens = _longest_sample(folder) if any(each.judge.engine for each in passes) else None
    if cluster_address(resources.ray_address) is None:
        _plan(passes, resources, view_local(), tokens, lambda note: None)
    with ray_session(resources.ray_address, observer.say) as log_folder:
        pools = _plan(passes, resources, view_cluster(resources), tokens, observer.say)
        settings = stream.StreamSettings.of(resources, start_engine, log_folder, start_tally())
        series = RunSeries(str(folder.folder), model)
        timeout = resources.stall_timeout_minutes * 60
        rows = sum(len(each.waiting) for each in passes)
        observer.say(f"{rows} samples to judge. Engine logs: {log_folder}")
        return sum(
            _judge(each, pool, folder, settings, timeout, observer, series)
            for each, pool in zip(passes, pools, strict=True)
        )


def _longest_sample(folder: RunFolder) -> int | None:
    """Tokens of the longest prompt and response, as its model counted them; None where no tokens were counted."""
    longest = 0
    for table in folder.counted_samples(TOKEN_COLUMNS):
        counts = [pc.fill_null(table[column], 0) for column in TOKEN_COLUMNS]
        longest = max(longest, pc.max(reduce(pc.add, counts)).as_py() or 0)
    return longest or None


def _plan(
    passes: list[Pass],
    resources: ResourcesConfig,
    view: ClusterView,
    tokens: int | None,
    say: Callable[[str], None],
) -> list[PlannedPool | None]:
    """A pool for each pass, None for a rule. Passes follow each other: each has the cluster.

    `tokens` bound a sample's prompt and response; `say` gets the notes of the plan.
    """
    pools: list[PlannedPool | None] = []
    for each in passes:
        needs = judge_pool(each.judge, len(each.waiting), resources, view, tokens)
        if needs is None:
            pools.append(None)
            continue
        plan = make_plan([needs], view)
        for note in plan.notes:
            say(note)
        ((pool,),) = plan.stages
        pools.append(pool)
    return pools


def _judge(
    each: Pass,
    pool: PlannedPool | None,
    folder: RunFolder,
    settings: stream.StreamSettings,
    timeout: float,
    observer: Observer,
    series: RunSeries,
) -> int:
    samples = stream.unjudged(stream.stored_samples(folder.samples, each.waiting, settings.block_rows))
    if pool is not None:
        samples = stream.judge(samples, pool, each.judge, each.parts, settings)
    control = StreamControl()
    blocks = stream.commit(samples, each.rule, each.step, control)
    pools = (each.judge.name,) if pool is not None else ()
    stage = Stage(pools, len(each.waiting), judges=(each.judge.name,))
    started, rates = time.monotonic(), PoolRates(time.monotonic)

    notes = PoolNotes(observer)

    def show(committed: Mapping[str, int], progress: Mapping[str, PoolProgress]) -> None:
        export(committed, progress)
        notes.show(progress)
        seconds = time.monotonic() - started
        observer.update(Snapshot.of(stage, committed, progress, seconds, rates=rates.note(progress)))

    rows = len(each.waiting)
    watchdog = Watchdog(pools, rows, timeout, time.monotonic, excused=lambda: folder.folder.is_silent)
    with series.stage(stage) as export:
        return pump(blocks, settings.tally, watchdog, show, control)["rows"]
