"""Runs against each other by preference: a judge is shown the responses of both to each prompt, in both orders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.catalog.published import published_figures
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.streaming import stream
from safechain_ray.cluster.streaming.stage import Stage
from safechain_ray.cluster.workers.commit import Commit
from safechain_ray.cluster.workers.preferring import PairReader, StoredPair, preference_counts
from safechain_ray.config import PreferenceConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.judges.preference import QUESTION
from safechain_ray.metrics.preferences import LeftOut, Preferences, summarise_preferences
from safechain_ray.metrics.setting_pairs import Pairing, pair_runs
from safechain_ray.pipelines.comparison.pairing import SamplePairs, pair_samples
from safechain_ray.pipelines.runs.attempt import attempt
from safechain_ray.pipelines.runs.inventory import RowKind, put_in_order, tell
from safechain_ray.pipelines.runs.job import Means, Work
from safechain_ray.pipelines.runs.observer import Observer
from safechain_ray.pipelines.runs.outline import Outline
from safechain_ray.pipelines.runs.output import held_output
from safechain_ray.pipelines.runs.pools import judge_pool
from safechain_ray.pipelines.runs.resolve import as_stored, check_parts, judge_identity, resolve_preference_judge
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.pipelines.runs.run_record import RunRecord
from safechain_ray.schema import Part, Setting, short_hash
from safechain_ray.schema.preference import PREFERENCES_SCHEMA, PreferenceOutcome
from safechain_ray.storage import Folder, open_folder

PREFERENCE_ROWS = RowKind(PREFERENCES_SCHEMA, words={"outcome": frozenset(get_args(PreferenceOutcome))})


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs, and what is compared of it."""

    folder: RunFolder
    record: RunRecord
    outline: Outline
    part: Part


@dataclass(frozen=True, slots=True)
class Contest:
    """Everything that is known before an engine starts."""

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
        """What changes the preferences."""
        return as_stored(
            {
                "run_a": self.a.record.identity,
                "run_b": self.b.record.identity,
                "compared": list(self.parts),
                "strategies": sorted(self.strategies),
                "judge": judge_identity(self.judge),
                "question": short_hash(QUESTION),
            }
        )

    def short_name(self) -> str:
        """A folder name where none is given."""
        digest = short_hash(json.dumps(self.identity(), sort_keys=True), characters=8)
        return f"prefer-{self.a.outline.model}-{self.b.outline.model}-{digest}"


@dataclass(frozen=True, slots=True)
class Preferring:
    """How it ended. `committed` counts the pairs that were judged in this try."""

    folder: RunFolder
    preferences: Preferences
    committed: int


def prefer(
    run_a: str, run_b: str, config: PreferenceConfig, observer: Observer, start_engine: StartEngine
) -> Preferring:
    """Have a judge compare two finished runs, going on where an earlier try was cut off.

    Leaves preferences/*.parquet and preferences.json in the folder of `config`; the runs are only read. Raises
    InputError (PlanError and RunConflictError among it) before anything starts, and what a stream raises.
    """
    contest = resolve_contest(run_a, run_b, config)
    with held_output(config.output or f"runs/{contest.short_name()}", config.resources, observer) as folder:
        return _preferred(contest, config, folder, observer, start_engine)


def _preferred(
    contest: Contest, config: PreferenceConfig, folder: RunFolder, observer: Observer, start_engine: StartEngine
) -> Preferring:
    pairs = contest.samples.answered
    facts = {"runs": [str(side.folder.folder) for side in (contest.a, contest.b)], "pairs": len(pairs)}
    record = RunRecord.resumed(folder, config, contest.identity(), facts)
    target = folder.folder / "preferences"
    inventory = put_in_order(
        target,
        retry_errors=False,
        kind=PREFERENCE_ROWS,
        counts=preference_counts,
        expected=[pair.sample_id for pair in pairs],
    )
    tell(inventory, observer)
    observer.say(f"A is {_described(contest.a)}; B is {_described(contest.b)}.")
    waiting = [pair for pair in pairs if pair.sample_id not in inventory.finished]
    if waiting:
        _ask(contest, waiting, target, inventory.counts, Means(config.resources, observer, record, start_engine))
    else:
        observer.say(f"All {len(pairs):,} pairs are judged already: no engine is started.")
    preferences = _measured(contest, target)
    folder.folder.write_text("preferences.json", preferences.model_dump_json(indent=2) + "\n")
    record.finished(missing=preferences.missing)
    return Preferring(folder, preferences, len(waiting))


def resolve_contest(run_a: str, run_b: str, config: PreferenceConfig) -> Contest:
    """Read both runs and pair their samples. Raises InputError for whatever can't be compared."""
    judge = resolve_preference_judge(config.judge)
    if judge.endpoint is not None and config.resources.max_cost is not None:
        raise InputError(
            f"resources.max_cost: the prices of {judge.name} are not known here; bound it with resources.max_requests."
        )
    patience = config.resources.storage_patience_minutes * 60
    folders = tuple(RunFolder(open_folder(run).patient(patience)) for run in (run_a, run_b))
    if folders[0] == folders[1]:
        raise InputError(f"{folders[0].folder} is named twice: a run is no better than itself.")
    records = tuple(map(RunRecord.of_finished, folders))
    outlines = tuple(record.outline for record in records)
    parts = compared_parts(outlines[0], outlines[1], config.part)
    a, b = (Side(*fields) for fields in zip(folders, records, outlines, parts, strict=True))
    settings = pair_runs(*(_chosen(side.outline, config.strategies) for side in (a, b)))
    samples = pair_samples(a.folder, b.folder, settings.pairs)
    if not samples.answered and not samples.unanswered:
        raise InputError(
            "The runs have no sample in common (data set, strategy, prompt and its text): nothing to compare.\n"
            + "\n".join(
                f"  {side.folder.folder}: {', '.join(setting.setting_id for setting in side.outline.settings)}"
                for side in (a, b)
            )
        )
    return Contest(a, b, judge, config.strategies, settings, samples)


def compared_parts(a: Outline, b: Outline, part: Part | None) -> tuple[Part, Part]:
    """What is compared of A and of B: where nothing is asked for, answers if both have them apart, else responses.

    Of a model that writes no thinking tags the whole response is the answer. Raises InputError for its thought.
    """
    if part is None:
        part = "answer" if a.family.tags is not None and b.family.tags is not None else "response"
    if part == "thought":
        for outline in (a, b):
            check_parts((part,), outline.model, outline.family)
    of_a, of_b = (part if outline.family.tags is not None else "response" for outline in (a, b))
    return of_a, of_b


class PreferringJob(Work):
    """Pairs of stored samples through the pool of one judge."""

    decisions = ("win", "tie", "lose")

    def __init__(
        self,
        contest: Contest,
        waiting: Sequence[StoredPair],
        target: Folder,
        found: Mapping[str, int],
        means: Means,
        log_folder: Path,
    ) -> None:
        super().__init__(len(contest.samples.answered), means, log_folder)
        self._contest = contest
        self._waiting = waiting
        self._target = target
        self._found = found

    def run_stages(self, plan: Plan) -> int:
        ((pool,),) = plan.stages
        contest = self._contest
        reader = PairReader(contest.a.folder.samples, contest.b.folder.samples, contest.parts)
        pairs = stream.stored_pairs(reader, self._waiting, self._settings.block_rows)
        preferences = stream.prefer(pairs, pool, contest.judge, contest.parts, self._settings)
        blocks = stream.commit(preferences, None, Commit(self._target, counts=preference_counts), self._means.control)
        done_before = self._total - len(self._waiting)
        return self._pump(blocks, Stage((pool.needs.pool,), self._total, done_before, self._found))


def _ask(
    contest: Contest, waiting: Sequence[StoredPair], target: Folder, found: Mapping[str, int], means: Means
) -> None:
    def plan_on(view: ClusterView) -> Plan:
        needs = judge_pool(contest.judge, len(waiting), means.resources, view)
        assert needs is not None  # a preference judge has an engine or an endpoint
        return make_plan([needs], view)

    total = len(contest.samples.answered)
    attempt(
        lambda logs: PreferringJob(contest, waiting, target, found, means, logs),
        plan_on,
        means,
        total - len(waiting),
        total,
        "pairs",
    )


def _measured(contest: Contest, target: Folder) -> Preferences:
    put_in_order(target, retry_errors=False, kind=PREFERENCE_ROWS)
    tables = map(target.read_parquet, target.list_files(".parquet"))
    a, b, samples, settings = contest.a, contest.b, contest.samples, contest.settings
    caveats = [*a.outline.caveats, *b.outline.caveats, *([contest.judge.caveat] if contest.judge.caveat else ())]
    published = published_figures()
    return Preferences(
        model_a=a.outline.model,
        model_b=b.outline.model,
        run_a=str(a.folder.folder),
        run_b=str(b.folder.folder),
        judge=contest.judge.name,
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
        published=published.pairwise.between(a.outline.model, b.outline.model),
    )


def _chosen(outline: Outline, strategies: tuple[str, ...]) -> tuple[Setting, ...]:
    return tuple(setting for setting in outline.settings if not strategies or setting.strategy.name in strategies)


def _described(side: Side) -> str:
    return f"{side.outline.model}, the {side.part} ({side.folder.folder})"
