"""Adds judges to a finished run: verdicts in files of their own, joined on sample_id. No engine generates."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster.workers.judge import RulesAndVotes
from safechain_ray.cluster.workers.writer import Benign, Commit, block_counts
from safechain_ray.commands.judge_passes import JudgePass, Samples, judgeable, remaining_passes
from safechain_ray.config import JudgingConfig, ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.later_verdicts import put_verdicts_in_order, samples_in_order
from safechain_ray.runs.output import held_output
from safechain_ray.runs.progress import Observer
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import check_parts, resolve_judge
from safechain_ray.runs.run_manifest import measure
from safechain_ray.runs.stored_rows import read_verdicts
from safechain_ray.runs.workload import Remaining, Workload
from safechain_ray.runs.workload import run as run_workload
from safechain_ray.storage import open_folder
from safechain_ray.types import Part, verdicts_table


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


def add_judges(run: str, config: JudgingConfig, observer: Observer, start_engine: StartEngine) -> Judging:
    """Judge the samples of the finished run in the folder `run`. It resumes where an earlier attempt was interrupted.

    Samples without a response (errors, blocked ones) are left alone: their verdicts are missing. Raises what
    `workload.run` raises.
    """
    outline = RunRecord.of_finished(RunFolder(open_folder(run))).outline
    judges = tuple(resolve_judge(judge) for judge in config.judges)
    check_parts(config.parts, outline.model, outline.family)
    return run_workload(AddedJudges(run, config, judges), observer, start_engine)


def remove_judge(run: str, name: str, config: ResourcesConfig, observer: Observer) -> RunMetrics:
    """Take a judge that was added out of a finished run, with its verdicts. Returns the metrics without it.

    The record is written before the verdicts are deleted: verdicts that a crash leaves belong to no judge of the run.
    Raises InputError for a judge that was not added.
    """
    with held_output(run, config, observer) as folder:
        record = RunRecord.of_finished(folder)
        record.remove_judge(name)
        for above in ("verdicts", "pieces"):
            if (folder.folder / above / name).exists():
                (folder.folder / above).delete_folder(name)
        return _write_metrics(folder, record)


@dataclass(frozen=True)
class AddedJudges(Workload[Judging]):
    """The verdicts of judges on parts of a finished run. They are judges of the run once all verdicts are there."""

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

    def open_record(self, folder: RunFolder) -> RunRecord:
        record = RunRecord.of_finished(folder)
        record.judging_begun(self.judges, self.config.parts)
        return record

    def repair(self, folder: RunFolder, record: RunRecord, observer: Observer) -> Remaining:
        samples = samples_in_order(folder, observer)
        put_verdicts_in_order(folder, samples, observer, again=self.names, parts=self.config.parts)
        kinds = record.outline.kinds.items()
        benign: Benign = {name: kind.benign_categories or () for name, kind in kinds}
        answered = dict(judgeable(folder))
        passes = [each for judge in self.judges for each in self._passes(folder, judge, answered, benign)]
        return remaining_passes(passes, len(answered) * len(self.judges), folder, self.resources)

    def all_completed(self, total: int) -> str:
        return "Every sample has these verdicts already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Judging:
        for judge in self.judges:
            record.judge_added(judge, self.config.parts)
        return Judging(folder, _write_metrics(folder, record), committed, self.names)

    def _passes(self, folder: RunFolder, judge: JudgeEntry, answered: Samples, benign: Benign) -> Iterator[JudgePass]:
        """One pass over the samples, or more where earlier attempts left some parts of some samples."""
        parts = self.config.parts
        verdicts = folder.verdicts(judge.name)
        held: defaultdict[str, set[str]] = defaultdict(set)
        for name in verdicts.list_files(".parquet"):
            table = read_verdicts(verdicts, name)
            for sample_id, part in zip(table["sample_id"].to_pylist(), table["part"].to_pylist(), strict=True):
                held[sample_id].add(part)
        waiting: defaultdict[tuple[Part, ...], dict[str, str]] = defaultdict(dict)
        for sample_id, name in answered.items():
            missing = tuple(part for part in parts if part not in held[sample_id])
            if missing:
                waiting[missing][sample_id] = name
        for missing, files in waiting.items():
            rule = RulesAndVotes((judge,), (), missing) if judge.is_rule else None
            count = partial(block_counts, judges=(judge.name,), benign=benign)
            yield JudgePass(judge, missing, files, Commit(verdicts, verdicts_table, missing, count), rule)


def _write_metrics(folder: RunFolder, record: RunRecord) -> RunMetrics:
    metrics = measure(folder, record.outline)
    folder.folder.write_text("metrics.json", metrics.model_dump_json(indent=2) + "\n")
    return metrics
