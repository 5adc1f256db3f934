"""Add judges to a finished run: their verdicts are files of their own, joined on sample_id. Nothing is generated.

A judge decides on whole parts of the samples (`AddedJudges`), or on prefixes of the thoughts (`JudgedThoughts`), which
show where a thought first turns unsafe.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, reduce
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster import pipeline
from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool, make_plan
from safechain_ray.cluster.progress import Stage
from safechain_ray.cluster.workers.judge import PartsOrPieces, RulesAndVotes
from safechain_ray.cluster.workers.writer import Benign, BlockWriter, block_counts
from safechain_ray.config import JudgingConfig, ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError, StorageError
from safechain_ray.judges.base import ThoughtPrefixes, prefixes_table
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.attempt import Attempt, RowStream
from safechain_ray.runs.file_index import failed, repair_samples, repair_verdicts
from safechain_ray.runs.folder import RunFolder, read_prefix_verdicts, read_samples, read_verdicts
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.pools import judge_pool
from safechain_ray.runs.progress import RunReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import check_parts, resolve_judge
from safechain_ray.runs.run_manifest import measure_and_write
from safechain_ray.runs.workload import Remaining, Workload
from safechain_ray.runs.workload import run as run_workload
from safechain_ray.storage import open_folder
from safechain_ray.types import Part, verdicts_table

ANSWERED = ("ok", "truncated")
"""Outcomes of samples that have a response."""

TOKEN_COLUMNS = ("prompt_tokens", "thought_tokens", "answer_tokens")

ROWS_OF_RULES = 1024
"""Rows of a block that only rules judge. Blocks of 32 rows, as for engines, took more time to move than to judge."""

Result = TypeVar("Result")

Samples = Mapping[str, str]
"""From the id of a sample to its file."""


@dataclass(frozen=True, slots=True)
class JudgePass:
    """One judge, and the samples whose `parts` it judges. `rule` gives the verdicts of a judge without a pool."""

    judge: JudgeEntry
    parts: PartsOrPieces
    waiting: Samples
    writer: BlockWriter
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
    """The remaining work of `total` samples, counted once for each judge. Each pass has the whole cluster."""
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
    block_rows = settings.block_rows if pools else max(settings.block_rows, ROWS_OF_RULES)
    samples = pipeline.unjudged(pipeline.stored_samples(folder.samples, each.waiting, block_rows))
    for pool in pools:
        samples = pipeline.judge(samples, pool, each.judge, each.parts, settings)
    names = tuple(pool.needs.pool for pool in pools)
    return RowStream(samples, each.writer, Stage(names, len(each.waiting), judges=(each.judge.name,)), each.rule)


@dataclass(frozen=True, slots=True)
class Judging:
    """Result of adding judges. `committed` counts the samples judged in this attempt."""

    folder: RunFolder
    metrics: RunMetrics
    committed: int
    judges: tuple[str, ...]

    @property
    def failed(self) -> int:
        """Verdicts of these judges that are missing because the judge failed."""
        every = (judge for setting in self.metrics.settings for judge in setting.judges)
        return sum(judge.failed for judge in every if judge.judge in self.judges)


def add_judges(run: str, config: JudgingConfig, reporter: RunReporter, start_engine: StartEngine) -> Judging:
    """Judge the samples of the finished run in the folder `run`. It resumes where an earlier attempt was interrupted.

    Samples without a response (errors, blocked ones) are skipped: their verdicts are missing. Raises the errors of
    `workload.run`.
    """
    run_manifest = RunRecord.of_finished(RunFolder(open_folder(run))).run_manifest
    judges = resolve_judges(config)
    check_parts(config.parts, run_manifest.model, run_manifest.family)
    return run_workload(AddedJudges(run, config, judges), reporter, start_engine)


def resolve_judges(config: JudgingConfig) -> tuple[JudgeEntry, ...]:
    """The judges of the config. Raises InputError with the fix."""
    return tuple(resolve_judge(judge) for judge in config.judges)


def remove_judge(run: str, name: str, config: ResourcesConfig, reporter: RunReporter) -> RunMetrics:
    """Remove a judge that was added to a finished run, with its verdicts. Returns the metrics without it.

    The record is written before the verdicts are deleted: verdicts that a crash leaves belong to no judge of the run.
    Raises InputError for a judge that was not added.
    """
    existing = RunFolder(open_folder(run))
    RunRecord.of_finished(existing)  # locking would create the folder of a mistyped path
    existing.check_samples()
    with lock_output(run, config, reporter) as folder:
        record = RunRecord.of_finished(folder)
        record.remove_judge(name)
        for parent in ("verdicts", "pieces"):
            if (folder.folder / parent / name).exists():
                (folder.folder / parent).delete_folder(name)
        return measure_and_write(folder, record.run_manifest)


@dataclass(frozen=True)
class _LaterJudges(Workload[Result]):
    """The verdicts of `judges` on a finished run, whose folder is `run`."""

    run: str
    config: JudgingConfig
    judges: tuple[JudgeEntry, ...]

    command = "judge"

    @property
    def output(self) -> str:
        return self.run

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(judge.name for judge in self.judges)

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """The whole parts that are judged; none where only prefixes of the thoughts are."""

    @abstractmethod
    def passes(self, folder: RunFolder, record: RunRecord, answered: Samples) -> Iterator[JudgePass]:
        """The work that is left, over the `answered` samples."""

    def open_record(self, folder: RunFolder) -> RunRecord:
        record = RunRecord.of_finished(folder)
        folder.check_samples()
        _check_texts(folder, self.judges)
        record.start_judging(self.judges, self.parts)
        return record

    def repair(self, folder: RunFolder, record: RunRecord, reporter: RunReporter) -> Remaining:
        samples = repair_samples(folder, reporter)
        repair_verdicts(folder, samples, reporter, again=self.names, parts=self.parts)
        answered = dict(judgeable(folder))
        passes = list(self.passes(folder, record, answered))
        return remaining_passes(passes, len(answered) * len(self.judges), folder, self.resources)


@dataclass(frozen=True)
class AddedJudges(_LaterJudges[Judging]):
    """The verdicts of judges on parts of a finished run. They are judges of the run once all verdicts are there."""

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.config.parts

    def passes(self, folder: RunFolder, record: RunRecord, answered: Samples) -> Iterator[JudgePass]:
        benign: Benign = {name: kind.benign_categories or () for name, kind in record.run_manifest.kinds.items()}
        for judge in self.judges:
            yield from self._passes(folder, judge, answered, benign)

    def all_completed(self, total: int) -> str:
        return "Every sample has these verdicts already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Judging:
        for judge in self.judges:
            record.judge_added(judge, self.parts)
        return Judging(folder, measure_and_write(folder, record.run_manifest), committed, self.names)

    def _passes(self, folder: RunFolder, judge: JudgeEntry, answered: Samples, benign: Benign) -> Iterator[JudgePass]:
        """One pass over the samples, or more where earlier attempts left some parts of some samples."""
        verdicts = folder.verdicts(judge.name)
        judged: defaultdict[str, set[str]] = defaultdict(set)
        for name in verdicts.list_files(".parquet"):
            table = read_verdicts(verdicts, name)
            for sample_id, part in zip(table["sample_id"].to_pylist(), table["part"].to_pylist(), strict=True):
                judged[sample_id].add(part)
        waiting: defaultdict[tuple[Part, ...], dict[str, str]] = defaultdict(dict)
        for sample_id, name in answered.items():
            missing = tuple(part for part in self.parts if part not in judged[sample_id])
            if missing:
                waiting[missing][sample_id] = name
        for missing, files in waiting.items():
            rule = RulesAndVotes((judge,), (), missing) if judge.is_rule else None
            count = partial(block_counts, judges=(judge.name,), benign=benign)
            yield JudgePass(judge, missing, files, BlockWriter(verdicts, verdicts_table, missing, count), rule)


@dataclass(frozen=True, slots=True)
class JudgedPrefixes:
    """Result of judging prefixes: samples judged in this attempt, and verdicts that a judge failed on."""

    committed: int
    failed: int


def judge_thought_prefixes(
    run: str, config: JudgingConfig, reporter: RunReporter, start_engine: StartEngine
) -> JudgedPrefixes:
    """Judge `config.pieces` growing prefixes of every thought of the finished run in the folder `run`.

    It resumes where an earlier attempt was interrupted, and judges thoughts with a failed verdict again. The verdicts
    go to `pieces/<judge>/`, where no safety metric counts them. Raises the errors of `workload.run`.
    """
    assert config.pieces is not None
    run_manifest = RunRecord.of_finished(RunFolder(open_folder(run))).run_manifest
    judges = resolve_judges(config)
    _check_judges(judges)
    check_parts(("thought",), run_manifest.model, run_manifest.family)
    return run_workload(JudgedThoughts(run, config, judges, ThoughtPrefixes(config.pieces)), reporter, start_engine)


@dataclass(frozen=True)
class JudgedThoughts(_LaterJudges[JudgedPrefixes]):
    """The verdicts of judges on prefixes of the thoughts of a finished run."""

    prefixes: ThoughtPrefixes

    parts = ()

    def passes(self, folder: RunFolder, record: RunRecord, answered: Samples) -> Iterator[JudgePass]:
        return (each for judge in self.judges if (each := self._pass(folder, judge, answered)).waiting)

    def all_completed(self, total: int) -> str:
        return "Every thought has these verdicts already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> JudgedPrefixes:
        for judge in self.judges:
            record.thoughts_judged(judge)
        return JudgedPrefixes(committed, sum(_failed(folder, judge, self.prefixes) for judge in self.judges))

    def _pass(self, folder: RunFolder, judge: JudgeEntry, answered: Samples) -> JudgePass:
        """The samples that a judge has left. The prefixes of a sample are in one file, all or none."""
        target = folder.prefix_verdicts(judge.name)
        judged: set[str] = set()
        for name in target.list_files(".parquet"):
            table = read_prefix_verdicts(target, name, ["sample_id", "pieces"])
            complete = table.filter(pc.equal(table["pieces"], self.prefixes.count))
            judged.update(complete["sample_id"].to_pylist())
        waiting = {sample_id: name for sample_id, name in answered.items() if sample_id not in judged}
        writer = BlockWriter(target, partial(prefixes_table, prefixes=self.prefixes), (str(self.prefixes.count),))
        return JudgePass(judge, self.prefixes, waiting, writer)


def _failed(folder: RunFolder, judge: JudgeEntry, prefixes: ThoughtPrefixes) -> int:
    """Verdicts on these prefixes that are missing because the judge failed."""
    target = folder.prefix_verdicts(judge.name)
    tables = (read_prefix_verdicts(target, name, ["pieces", "error"]) for name in target.list_files(".parquet"))
    return sum(sum(failed(table.filter(pc.equal(table["pieces"], prefixes.count)))) for table in tables)


def _check_texts(folder: RunFolder, judges: Sequence[JudgeEntry]) -> None:
    """Raises InputError for a copy without the texts that the judges read.

    Without prompts a guard would judge each response as one to an empty prompt.
    """
    names = [judge.name for judge in judges if judge.reads_prompt]
    with suppress(StorageError):  # a file that can't be read is repaired later
        if _lacks_responses(folder):
            raise InputError(
                f"{folder.folder} has no texts of the responses: `push --include verdicts` leaves them out. Fix: judge "
                "the original run."
            )
        if names and (withheld := folder.sets_without_prompts()):
            raise InputError(
                f"{folder.folder} has no texts of the prompts of {', '.join(withheld)}: they were left out when the "
                f"run was pushed, and {', '.join(names)} judges a response together with its prompt. Fix: judge the "
                "original run, or name a judge that reads the response alone."
            )


def _lacks_responses(folder: RunFolder) -> bool:
    """Whether answered samples have no response. The first file with an answered sample decides."""
    for table in folder.counted_samples(["outcome", "response"]):
        answered = table.filter(pc.is_in(table["outcome"], pa.array(ANSWERED)))
        if answered.num_rows:
            return bool(answered["response"].null_count == answered.num_rows)
    return False


def _check_judges(judges: tuple[JudgeEntry, ...]) -> None:
    for judge in judges:
        if judge.is_rule:
            raise InputError(
                f"judges: {judge.name} can't judge thoughts in pieces. It calls every text without a refusal phrase "
                "unsafe, so its verdict on the beginning of a thought has no meaning. Fix: name a judge with a model."
            )
