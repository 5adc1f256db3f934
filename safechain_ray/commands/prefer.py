"""The prefer command: a judge compares the responses of two runs to each prompt, in both orders.

A pair has the samples of both runs with the same prompt and the same sample index.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pyarrow as pa

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.catalog.published import published_figures
from safechain_ray.cluster import pipeline
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.progress import Stage
from safechain_ray.cluster.workers.pair_judge import PairReader, StoredPair, preference_counts
from safechain_ray.cluster.workers.writer import BlockWriter
from safechain_ray.commands.judge import ANSWERED
from safechain_ray.config import PreferenceConfig, ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.judges.preference import QUESTION
from safechain_ray.metrics.comparison import Pairing, pair_runs
from safechain_ray.metrics.preferences import LeftOut, Preferences, Unanswered, summarise_preferences
from safechain_ray.runs.attempt import Attempt, RowStream
from safechain_ray.runs.file_index import RowKind, repair_and_index, report_repairs
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.identity import name_of
from safechain_ray.runs.pools import judge_pool
from safechain_ray.runs.progress import RunReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import as_stored, check_parts, judge_identity, resolve_preference_judge
from safechain_ray.runs.run_manifest import RunManifest
from safechain_ray.runs.workload import Remaining, Workload, run
from safechain_ray.storage import Folder, open_folder
from safechain_ray.types import Part, Setting, short_hash
from safechain_ray.types.tables import PREFERENCES_SCHEMA, PreferenceOutcome

_COLUMNS = ("setting_id", "prompt_id", "sample_index", "sample_id", "category", "prompt", "outcome")

SampleKey = tuple[str, str, int]
"""setting_id of A, prompt_id, sample_index."""


@dataclass(frozen=True, slots=True)
class SamplePairs:
    """Pairs that both have a response, those where a side has none, and how many samples have no counterpart."""

    answered: tuple[StoredPair, ...]
    unanswered: tuple[Unanswered, ...]
    only_a: int
    only_b: int
    other_prompt: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """The part of a sample that stays in memory: its prompt only as a hash."""

    sample_id: str
    file: str
    category: str
    prompt: str
    answered: bool


_NO_TEXT = short_hash("")


def pair_samples(a: RunFolder, b: RunFolder, settings: Sequence[tuple[Setting, Setting]]) -> SamplePairs:
    """The samples of these pairs of settings by prompt_id and sample_index; the prompts' texts have to be equal.

    Prompts that `push` left out have empty texts, which are equal to no other.
    """
    of_a = dict(_stored(a, {first.setting_id: first.setting_id for first, _ in settings}))
    of_b = dict(_stored(b, {second.setting_id: first.setting_id for first, second in settings}))
    both = [key for key in of_a if key in of_b]
    same = [key for key in both if of_a[key].prompt == of_b[key].prompt != _NO_TEXT]
    answered = [key for key in same if of_a[key].answered and of_b[key].answered]
    without = set(same) - set(answered)
    return SamplePairs(
        answered=tuple(_pair(of_a[key], of_b[key]) for key in answered),
        unanswered=tuple(Unanswered(key[0], key[1], of_a[key].category) for key in same if key in without),
        only_a=len(of_a) - len(both),
        only_b=len(of_b) - len(both),
        other_prompt=len(both) - len(same),
    )


def _pair(a: _Stored, b: _Stored) -> StoredPair:
    return StoredPair(a.sample_id, a.file, b.sample_id, b.file)


def _stored(run: RunFolder, settings: dict[str, str]) -> Iterator[tuple[SampleKey, _Stored]]:
    """The samples of `settings`, which maps them to A's."""
    for name, table in run.samples_by_file(_COLUMNS):
        yield from _in_table(table, name, settings)


def _in_table(table: pa.Table, name: str, settings: dict[str, str]) -> Iterator[tuple[SampleKey, _Stored]]:
    for setting_id, prompt_id, sample_index, sample_id, category, prompt, outcome in zip(
        *(table[column].to_pylist() for column in _COLUMNS), strict=True
    ):
        if setting_id in settings:
            key = (settings[setting_id], prompt_id, sample_index)
            yield key, _Stored(sample_id, name, category, short_hash(prompt), outcome in ANSWERED)


PREFERENCE_ROWS = RowKind(PREFERENCES_SCHEMA, words={"outcome": frozenset(get_args(PreferenceOutcome))})


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs, and the part of its samples that is compared."""

    folder: RunFolder
    record: RunRecord
    run_manifest: RunManifest
    part: Part


@dataclass(frozen=True, slots=True)
class PairwiseComparison:
    """All facts that are known before an engine starts."""

    a: Side
    b: Side
    judge: JudgeEntry
    strategies: tuple[str, ...]
    settings: Pairing
    samples: SamplePairs

    @property
    def parts(self) -> tuple[Part, Part]:
        return self.a.part, self.b.part

    def identity(self) -> dict[str, Any]:
        """All that changes the preferences."""
        return as_stored(
            {
                "run_a": self.a.record.identity.tree,
                "run_b": self.b.record.identity.tree,
                "compared": list(self.parts),
                "strategies": sorted(self.strategies),
                "judge": judge_identity(self.judge),
                "question": short_hash(QUESTION),
            }
        )

    def short_name(self) -> str:
        """The default folder name."""
        return name_of(f"prefer-{self.a.run_manifest.model}-{self.b.run_manifest.model}", self.identity())


@dataclass(frozen=True, slots=True)
class Preferring:
    """Result of a comparison. `committed` counts the pairs judged by this attempt."""

    folder: RunFolder
    preferences: Preferences
    committed: int


def prefer(
    run_a: str, run_b: str, config: PreferenceConfig, reporter: RunReporter, start_engine: StartEngine
) -> Preferring:
    """Compare two finished runs by a judge. It resumes where an earlier attempt was interrupted.

    Leaves preferences/*.parquet and preferences.json in the folder of `config`; the runs are only read. Raises the
    errors of `workload.run`.
    """
    return run(PreferenceWorkload(config, resolve_comparison(run_a, run_b, config)), reporter, start_engine)


@dataclass(frozen=True)
class PreferenceWorkload(Workload[Preferring]):
    """Pairs of stored samples, compared by one judge."""

    config: PreferenceConfig
    comparison: PairwiseComparison

    rows_are = "pairs"
    decisions = ("win", "tie", "lose")

    @property
    def output(self) -> str:
        return self.config.output or f"runs/{self.comparison.short_name()}"

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

    def open_record(self, folder: RunFolder) -> RunRecord:
        sides = (self.comparison.a, self.comparison.b)
        pairs = self.comparison.samples.answered
        facts = {"runs": [str(side.folder.folder) for side in sides], "pairs": len(pairs)}
        return RunRecord.resumed(folder, self.config, self.comparison.identity(), facts)

    def repair(self, folder: RunFolder, record: RunRecord, reporter: RunReporter) -> Remaining:
        comparison, target, pairs = self.comparison, folder.folder / "preferences", self.comparison.samples.answered
        index = repair_and_index(
            target,
            retry_errors=True,
            kind=PREFERENCE_ROWS,
            counts=preference_counts,
            expected=[pair.sample_id for pair in pairs],
        )
        report_repairs(index, reporter)
        reporter.report(f"A is {_described(comparison.a)}; B is {_described(comparison.b)}.")
        waiting = [pair for pair in pairs if pair.sample_id not in index.completed]
        done_before = len(pairs) - len(waiting)

        def plan_on(view: ClusterView) -> Plan:
            needs = judge_pool(comparison.judge, len(waiting), self.resources, view)
            assert needs is not None  # a preference judge has an engine or an endpoint
            return make_plan([needs], view)

        def streams(plan: Plan, attempt: Attempt) -> Iterator[RowStream]:
            ((pool,),) = plan.stages
            settings = attempt.settings
            reader = PairReader(comparison.a.folder.samples, comparison.b.folder.samples, comparison.parts)
            rows = pipeline.prefer(
                pipeline.stored_pairs(reader, waiting, settings.block_rows),
                pool,
                comparison.judge,
                comparison.parts,
                settings,
            )
            stage = Stage((pool.needs.pool,), len(pairs), done_before, index.counts)
            yield RowStream(rows, BlockWriter(target, counts=preference_counts), stage)

        return Remaining(len(pairs), done_before, plan_on, streams)

    def all_completed(self, total: int) -> str:
        return f"All {total:,} pairs are judged already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Preferring:
        preferences = _measure(self.comparison, folder.folder / "preferences")
        folder.write_figures("preferences.json", preferences)
        record.finished(missing=preferences.missing)
        return Preferring(folder, preferences, committed)


def resolve_comparison(run_a: str, run_b: str, config: PreferenceConfig) -> PairwiseComparison:
    """Read both runs and pair their samples. Raises InputError for runs that can't be compared."""
    judge = resolve_preference_judge(config.judge)
    if judge.endpoint is not None and config.resources.max_cost is not None:
        raise InputError(
            f"resources.max_cost: the prices of {judge.name} are unknown. Fix: set resources.max_requests instead."
        )
    patience = config.resources.storage_patience_minutes * 60
    folders = tuple(RunFolder(open_folder(run).with_retry(patience)) for run in (run_a, run_b))
    if folders[0] == folders[1]:
        raise InputError(f"{folders[0].folder} is named twice. Fix: name two different runs.")
    records = tuple(map(RunRecord.of_finished, folders))
    manifests = tuple(record.run_manifest for record in records)
    parts = compared_parts(manifests[0], manifests[1], config.part)
    a, b = (Side(*fields) for fields in zip(folders, records, manifests, parts, strict=True))
    settings = pair_runs(*(_chosen(side.run_manifest, config.strategies) for side in (a, b)))
    samples = pair_samples(a.folder, b.folder, settings.pairs)
    if not samples.answered and not samples.unanswered:
        raise InputError(
            "The runs have no sample in common: data set, strategy, prompt and its text have to be equal. "
            "A prompt that was left out when a run was pushed has no text. "
            "Fix: name runs of the same prompts and strategies.\n"
            + "\n".join(
                f"  {side.folder.folder}: {', '.join(setting.setting_id for setting in side.run_manifest.settings)}"
                for side in (a, b)
            )
        )
    return PairwiseComparison(a, b, judge, config.strategies, settings, samples)


def compared_parts(a: RunManifest, b: RunManifest, part: Part | None) -> tuple[Part, Part]:
    """The compared parts of A and B. By default answers, if both models have them apart, else whole responses.

    Of a model that writes no thinking tags the whole response is the answer. Raises InputError for its thought.
    """
    if part is None:
        part = "answer" if a.family.tags is not None and b.family.tags is not None else "response"
    if part == "thought":
        for run_manifest in (a, b):
            check_parts((part,), run_manifest.model, run_manifest.family)
    of_a, of_b = (part if run_manifest.family.tags is not None else "response" for run_manifest in (a, b))
    return of_a, of_b


def _measure(comparison: PairwiseComparison, target: Folder) -> Preferences:
    repair_and_index(target, retry_errors=False, kind=PREFERENCE_ROWS)
    tables = map(target.read_parquet, target.list_files(".parquet"))
    a, b, samples, settings = comparison.a, comparison.b, comparison.samples, comparison.settings
    caveats = [
        *a.run_manifest.caveats,
        *b.run_manifest.caveats,
        *([comparison.judge.caveat] if comparison.judge.caveat else ()),
    ]
    published = published_figures()
    return Preferences(
        model_a=a.run_manifest.model,
        model_b=b.run_manifest.model,
        run_a=str(a.folder.folder),
        run_b=str(b.folder.folder),
        judge=comparison.judge.name,
        part_a=a.part,
        part_b=b.part,
        settings=summarise_preferences(tables, samples.unanswered, settings.pairs),
        left_out=LeftOut(
            samples_a=samples.only_a,
            samples_b=samples.only_b,
            other_prompt=samples.other_prompt,
            settings_a=tuple(setting.setting_id for setting in settings.alone_first),
            settings_b=tuple(setting.setting_id for setting in settings.alone_second),
        ),
        caveats=tuple(dict.fromkeys(caveats)),
        published_by=published.source,
        published=published.pairwise.between(a.run_manifest.model, b.run_manifest.model),
    )


def _chosen(run_manifest: RunManifest, strategies: tuple[str, ...]) -> tuple[Setting, ...]:
    return tuple(setting for setting in run_manifest.settings if not strategies or setting.strategy.name in strategies)


def _described(side: Side) -> str:
    return f"{side.run_manifest.model}, the {side.part} ({side.folder.folder})"
