"""Judges thoughts in growing pieces, to find where the first unsafe segment stands; nothing is generated again."""

from dataclasses import dataclass
from functools import partial

import pyarrow.compute as pc

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster.workers.writer import Commit
from safechain_ray.commands.judge_passes import JudgePass, Samples, judgeable, remaining_passes
from safechain_ray.config import JudgingConfig, ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.judges.thought_prefixes import ThoughtPieces, pieces_table
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.later_verdicts import failed, put_verdicts_in_order, samples_in_order
from safechain_ray.runs.progress import Observer
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import check_parts, resolve_judge
from safechain_ray.runs.stored_rows import read_pieces
from safechain_ray.runs.workload import Remaining, Workload
from safechain_ray.runs.workload import run as run_workload
from safechain_ray.storage import open_folder


@dataclass(frozen=True, slots=True)
class JudgedPieces:
    """Result of judging pieces: samples judged in this attempt, and verdicts that a judge failed on."""

    committed: int
    failed: int


def judge_in_pieces(run: str, config: JudgingConfig, observer: Observer, start_engine: StartEngine) -> JudgedPieces:
    """Judge every thought of the finished run in the folder `run` in `config.pieces` growing pieces.

    It resumes where an earlier attempt was interrupted, and asks again for thoughts with a failed verdict. The verdicts
    go to `pieces/<judge>/`, where no safety metric counts them. Raises what `workload.run` raises.
    """
    assert config.pieces is not None
    outline = RunRecord.of_finished(RunFolder(open_folder(run))).outline
    judges = tuple(resolve_judge(judge) for judge in config.judges)
    _check_judges(judges)
    check_parts(("thought",), outline.model, outline.family)
    return run_workload(JudgedThoughts(run, config, judges, ThoughtPieces(config.pieces)), observer, start_engine)


@dataclass(frozen=True)
class JudgedThoughts(Workload[JudgedPieces]):
    """The verdicts of judges on growing pieces of the thoughts of a finished run."""

    run: str
    config: JudgingConfig
    judges: tuple[JudgeEntry, ...]
    pieces: ThoughtPieces

    command = "judge"

    @property
    def output(self) -> str:
        return self.run

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

    def open_record(self, folder: RunFolder) -> RunRecord:
        record = RunRecord.of_finished(folder)
        record.judging_begun(self.judges, ())
        return record

    def repair(self, folder: RunFolder, record: RunRecord, observer: Observer) -> Remaining:
        names = tuple(judge.name for judge in self.judges)
        put_verdicts_in_order(folder, samples_in_order(folder, observer), observer, again=names)
        answered = dict(judgeable(folder))
        passes = [each for judge in self.judges if (each := self._pass(folder, judge, answered)).waiting]
        return remaining_passes(passes, len(answered) * len(self.judges), folder, self.resources)

    def all_completed(self, total: int) -> str:
        return "Every thought has these verdicts already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> JudgedPieces:
        for judge in self.judges:
            record.pieces_judged(judge)
        return JudgedPieces(committed, sum(_failed(folder, judge, self.pieces) for judge in self.judges))

    def _pass(self, folder: RunFolder, judge: JudgeEntry, answered: Samples) -> JudgePass:
        """What is left to do for a judge. The pieces of a sample are in one file, all or none."""
        target = folder.pieces(judge.name)
        held: set[str] = set()
        for name in target.list_files(".parquet"):
            table = read_pieces(target, name, ["sample_id", "pieces"])
            held.update(
                sample_id
                for sample_id, count in zip(table["sample_id"].to_pylist(), table["pieces"].to_pylist(), strict=True)
                if count == self.pieces.count
            )
        waiting = {sample_id: name for sample_id, name in answered.items() if sample_id not in held}
        writer = Commit(target, partial(pieces_table, pieces=self.pieces), (str(self.pieces.count),))
        return JudgePass(judge, self.pieces, waiting, writer)


def _failed(folder: RunFolder, judge: JudgeEntry, pieces: ThoughtPieces) -> int:
    """Number of verdicts on thoughts in `pieces` that are missing because the judge failed."""
    target = folder.pieces(judge.name)
    tables = (read_pieces(target, name, ["pieces", "error"]) for name in target.list_files(".parquet"))
    return sum(sum(failed(table.filter(pc.equal(table["pieces"], pieces.count)))) for table in tables)


def _check_judges(judges: tuple[JudgeEntry, ...]) -> None:
    for judge in judges:
        if judge.is_rule:
            raise InputError(
                f"judges: {judge.name} can't judge thoughts in pieces: it calls a text unsafe as long as no refusal "
                "phrase stands in it, so a thought's beginning says nothing. Name a judge with a model."
            )
