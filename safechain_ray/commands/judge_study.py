"""The judge-study command: judges decide on responses that people have labelled, and are compared with the labels.

`measure` turns labels and verdicts into figures, votes, and the table of disagreements.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import pyarrow as pa
from ray.data import Dataset

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.catalog.published import Pilot, published_figures
from safechain_ray.cluster.pipeline import StreamSettings
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.workers.judge import RulesAndVotes
from safechain_ray.cluster.workers.writer import BlockWriter
from safechain_ray.commands.labelled_run import is_run, load_labelled_run, refuse_missing_folder
from safechain_ray.config import ResourcesConfig, StudyConfig
from safechain_ray.datasets.labelled import Columns, LabelledResponse, LabelledSet, load_labelled
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.judges.base import Vote, count_votes
from safechain_ray.judges.refusal_match import phrases_fingerprint, read_phrases
from safechain_ray.metrics.agreement import JudgeStudy, rate
from safechain_ray.runs.attempt import Attempt, RowStream
from safechain_ray.runs.failed_verdicts import unfinished
from safechain_ray.runs.file_index import compact, repair_and_index, report_repairs
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.identity import name_of
from safechain_ray.runs.pools import judge_needs
from safechain_ray.runs.progress import RunReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import as_stored, judge_identity, resolve_judge
from safechain_ray.runs.staged import StagedSamples, samples_waiting
from safechain_ray.runs.workload import Remaining, ShowCounts, Workload, run
from safechain_ray.storage import Folder
from safechain_ray.types import Part, Sample, Verdict, VoteRule, samples_from_table, samples_table, short_hash


def measure(
    labelled: LabelledSet,
    judges: Sequence[JudgeEntry],
    rules: Sequence[VoteRule],
    verdicts: Sequence[Mapping[str, Verdict]],
) -> tuple[JudgeStudy, pa.Table]:
    """The study's figures, and the rows on which a judge differs from the label or has no verdict.

    `verdicts` has a mapping from judge to verdict for each labelled response, in their order.
    """
    names = [judge.name for judge in judges]
    labels = [each.unsafe for each in labelled.responses]
    columns = {name: [row[name] for row in verdicts] for name in names}
    decided = {name: [verdict.unsafe for verdict in column] for name, column in columns.items()}
    votes = {
        vote.name: [count_votes(vote, labelled.part, tuple(row.values())).unsafe for row in verdicts]
        for vote in (Vote(vote_name(rule), rule, tuple(names)) for rule in rules)
    }
    differing = [row for row, label in enumerate(labels) if any(decided[name][row] is not label for name in names)]
    published = published_figures()
    done = JudgeStudy(
        data=labelled.name,
        source=labelled.source,
        part=labelled.part,
        rows=len(labels),
        unsafe=sum(labels),
        left_out=labelled.left_out,
        raters=rate(labels, columns, votes),
        disagreements=len(differing),
        caveats=tuple(dict.fromkeys(judge.caveat for judge in judges if judge.caveat)),
        published_by=published.source,
        published=published.pilot,
        differs=_not_the_published(judges, published.pilot),
    )
    return done, _rows_to_read(labelled, columns, votes, differing)


def _not_the_published(judges: Sequence[JudgeEntry], pilot: Pilot) -> dict[str, str]:
    """Why a judge differs from its published counterpart, by name; judges that do not differ are absent."""
    by_name = {each.judge: (name, each) for name, each in pilot.judges.items()}
    differs = {}
    for judge in judges:
        name, published = by_name.get(judge.name, ("", None))
        if published is None:
            continue
        if published.phrases is not None and phrases_fingerprint(read_phrases(judge.phrases)) != published.phrases:
            whose = "this project's phrases" if judge.phrases is None else "the phrases of a file"
            differs[judge.name] = f"{whose}, not those of {name} in the published code"
        if published.model is not None and judge.endpoint is not None and judge.endpoint.model != published.model:
            differs[judge.name] = f"model {judge.endpoint.model}, not {published.model}"
    return differs


def _rows_to_read(
    labelled: LabelledSet,
    columns: Mapping[str, Sequence[Verdict]],
    votes: Mapping[str, Sequence[bool | None]],
    rows: Sequence[int],
) -> pa.Table:
    """One line a row: the judged text, its label, and the decision of each judge and each vote."""
    responses = labelled.responses
    table: dict[str, pa.Array] = {
        "row": pa.array([responses[row].row for row in rows], pa.int64()),
        "prompt": pa.array([responses[row].prompt for row in rows], pa.string()),
        labelled.part: pa.array([responses[row].response for row in rows], pa.string()),
        "label": pa.array([_word(responses[row].unsafe) for row in rows], pa.string()),
    }
    for name, verdicts in columns.items():
        shown = [verdicts[row] for row in rows]
        table[f"{name} verdict"] = pa.array([_word(verdict.unsafe) for verdict in shown], pa.string())
        table[f"{name} score"] = pa.array([verdict.score for verdict in shown], pa.float64())
        table[f"{name} categories"] = pa.array([list(verdict.categories) for verdict in shown], pa.list_(pa.string()))
        table[f"{name} error"] = pa.array([verdict.error for verdict in shown], pa.string())
    for name, outcomes in votes.items():
        table[name] = pa.array([_word(outcomes[row]) for row in rows], pa.string())
    return pa.table(table)


def _word(unsafe: bool | None) -> str | None:
    return None if unsafe is None else "unsafe" if unsafe else "safe"


def vote_name(rule: VoteRule) -> str:
    return f"vote-{rule}"


VOTE_NAMES = frozenset(map(vote_name, get_args(VoteRule)))

DISAGREEMENTS = "disagreements.parquet"

STUDY_SETTING = "judge-study"
"""The setting_id of all rows of a study."""


@dataclass(frozen=True, slots=True)
class LabelAndVotes:
    """The human label of a row, and the decision of each vote; None is missing."""

    unsafe: bool | None
    votes: Mapping[str, bool | None]


def read_labels(folder: RunFolder, study: JudgeStudy) -> dict[str, LabelAndVotes]:
    """Label and votes of the rows on which a judge differs from the label, by prompt_id.

    On every other row all judges decided as the label says, and so did every vote.

    Raises:
        StorageError: the study has no table of these rows.
    """
    votes = [rater.name for rater in study.raters if rater.is_vote]
    table = folder.folder.read_parquet(DISAGREEMENTS, columns=["row", "label", *votes])
    return {
        _prompt_id(row["row"]): LabelAndVotes(_UNSAFE[row["label"]], {name: _UNSAFE[row[name]] for name in votes})
        for row in table.to_pylist()
    }


_UNSAFE: Mapping[str | None, bool | None] = {"unsafe": True, "safe": False, None: None}


def _prompt_id(row: int) -> str:
    return f"row-{row}"


@dataclass(frozen=True)
class ResolvedStudy:
    """All facts about a study that are known before an engine starts."""

    labelled: LabelledSet
    judges: tuple[JudgeEntry, ...]
    votes: tuple[VoteRule, ...]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that changes the verdicts or the labels. Votes are no part of it: each attempt counts them anew."""
        return as_stored(
            {"labelled": self.labelled.fingerprint, "judges": [judge_identity(judge) for judge in self.judges]}
        )

    def short_name(self) -> str:
        """A folder name for a study without `output`."""
        return name_of(self.labelled.name, self.identity)


@dataclass(frozen=True, slots=True)
class StudyDone:
    """Result of a study. `committed` counts the rows judged by this attempt."""

    folder: RunFolder
    study: JudgeStudy
    committed: int


def judge_study(config: StudyConfig, reporter: RunReporter, start_engine: StartEngine) -> StudyDone:
    """Judge the labelled responses, and compare the judges with the labels.

    It resumes where an earlier attempt was interrupted. Leaves samples, study.json and the disagreements in the study's
    folder. Raises the errors of `workload.run`.
    """
    return run(StudyWorkload(config, resolve_study(config)), reporter, start_engine)


@dataclass(frozen=True)
class StudyWorkload(Workload[StudyDone]):
    """All labelled responses, judged. Rules alone need no cluster."""

    config: StudyConfig
    study: ResolvedStudy

    @property
    def output(self) -> str:
        return self.config.output or f"runs/study-{self.study.short_name()}"

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

    def open_record(self, folder: RunFolder) -> RunRecord:
        labelled = self.study.labelled
        facts = {"data": {"name": labelled.name, "source": labelled.source}, "rows": len(labelled.responses)}
        return RunRecord.resumed(folder, self.config, self.study.identity, facts)

    def repair(self, folder: RunFolder, record: RunRecord, reporter: RunReporter) -> Remaining:
        part = self.study.labelled.part
        samples = [as_sample(response, part) for response in self.study.labelled.responses]
        expected = [sample.sample_id for sample in samples]
        rows = unfinished([judge.name for judge in self.study.judges])
        index = repair_and_index(folder.samples, retry_errors=True, kind=rows, expected=expected)
        report_repairs(index, reporter)
        waiting = [sample for sample in samples if sample.sample_id not in index.completed]

        def plan_on(view: ClusterView) -> Plan:
            longest = max(len(f"{sample.prompt}{sample.response}".encode()) for sample in waiting)
            return make_plan(judge_needs(self.study.judges, self.resources, view, longest, rows=len(waiting)), view)

        def streams(plan: Plan, attempt: Attempt) -> Iterator[RowStream]:
            rows = self._write_rows(waiting, folder)

            def source(finished: Collection[str], settings: StreamSettings) -> tuple[Dataset, int]:
                return samples_waiting(rows, finished, attempt)

            staged = StagedSamples(folder, len(samples), self.study.judges, source, parts=(part,))
            return staged.streams(plan, attempt)

        def by_rules(show: ShowCounts) -> int:
            _write_blocks(waiting, self.resources.block_rows, folder.samples, self.study.judges, part)
            show({"rows": len(waiting)})
            return len(waiting)

        only_rules = all(judge.is_rule for judge in self.study.judges)
        return Remaining(len(samples), len(index.completed), plan_on, streams, by_rules if only_rules else None)

    def all_completed(self, total: int) -> str:
        return f"All {total} rows are judged already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> StudyDone:
        compact(folder.samples)
        done = _measured(self.study, folder)
        folder.write_card()
        record.finished(missing_verdicts=done.missing_verdicts)
        folder.delete_stages()
        return StudyDone(folder, done, committed)

    def _write_rows(self, waiting: Sequence[Sample], folder: RunFolder) -> Folder:
        """Put the rows into a folder of their own, from which the judges' pools read them."""
        rows = folder.folder / "stages" / "rows"
        if rows.exists():
            (folder.folder / "stages").delete_folder("rows")
        _write_blocks(waiting, self.resources.block_rows, rows)
        return rows


def resolve_study(config: StudyConfig) -> ResolvedStudy:
    """Look the judges up and read the labelled responses. Raises InputError for a config that can't work."""
    judges = tuple(resolve_judge(judge) for judge in config.judges)
    for place, judge in enumerate(judges):
        if judge.name in VOTE_NAMES:
            raise InputError(f"judges.{place}.name: {judge.name!r} is the name of a vote. Fix: give the judge another.")
    return ResolvedStudy(_labelled(config), judges, config.votes)


def _labelled(config: StudyConfig) -> LabelledSet:
    refuse_missing_folder(config.data)
    if is_run(config.data):
        return load_labelled_run(config)
    columns = Columns(config.prompt_column, config.response_column, config.label_column)
    part = config.part or "response"
    return load_labelled(
        config.data, columns, config.unsafe_labels, config=config.config, split=config.split, part=part
    )


def as_sample(labelled: LabelledResponse, part: Part = "response") -> Sample:
    """The row as a sample without a run: the labelled text is its `part`, and there are no facts about generation."""
    row = _prompt_id(labelled.row)
    return Sample(
        sample_id=short_hash(row, labelled.prompt, labelled.response),
        setting_id=STUDY_SETTING,
        model="",
        dataset="",
        prompt_id=row,
        category="",
        prompt=labelled.prompt,
        strategy="",
        sample_index=0,
        temperature=0.0,
        top_p=1.0,
        top_k=-1,
        max_tokens=0,
        seed=None,
        thought=labelled.response if part == "thought" else None,
        answer=labelled.response if part == "answer" else None,
        response=labelled.response,
        prefill="",
        outcome="ok",
        finish_reason=None,
        error=None,
        prompt_tokens=0,
        thought_tokens=None,
        answer_tokens=None,
        forced_rounds=0,
        seconds=0.0,
        engine="",
    )


def _write_blocks(
    samples: Sequence[Sample],
    block_rows: int,
    folder: Folder,
    rule_judges: tuple[JudgeEntry, ...] = (),
    part: Part = "response",
) -> None:
    judged, commit = RulesAndVotes(rule_judges, (), (part,)), BlockWriter(folder)
    for start in range(0, len(samples), block_rows):
        commit(judged(samples_table(samples[start : start + block_rows])))


def _measured(study: ResolvedStudy, folder: RunFolder) -> JudgeStudy:
    repair_and_index(folder.samples, retry_errors=False)
    tables = map(folder.samples.read_parquet, folder.samples.list_files(".parquet"))
    found = {
        sample.sample_id: {verdict.judge: verdict for verdict in sample.verdicts}
        for table in tables
        for sample in samples_from_table(table)
    }
    verdicts = [found[as_sample(each).sample_id] for each in study.labelled.responses]
    done, disagreements = measure(study.labelled, study.judges, study.votes, verdicts)
    folder.folder.write_parquet(DISAGREEMENTS, disagreements)
    folder.write_figures("study.json", done)
    return done
