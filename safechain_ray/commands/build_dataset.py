"""The build-dataset command: draw prompts, run and judge a model on them, select one response for each safe prompt.

Prompts that overlap with evaluation sets or with each other are dropped before the draw. The facts of a built set have
the counts of every step, the sources, the rule and the seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from pydantic import BaseModel, ConfigDict

from safechain_ray import catalog
from safechain_ray.catalog.entries import Entry
from safechain_ray.catalog.row_entries import DatasetEntry
from safechain_ray.commands.evaluate import Evaluation, finish, open_run
from safechain_ray.commands.training_set_folder import DatasetRecord, write_rows
from safechain_ray.config import BuildConfig, DatasetConfig, PromptsConfig
from safechain_ray.curation.overlap import (
    NEAR_DUPLICATE,
    NOT_DRAWN,
    UNUSABLE,
    Draw,
    Objection,
    Overlap,
    draw_prompts,
    no_objection,
    reason_of,
)
from safechain_ray.curation.selection import (
    COLUMNS,
    SAMPLE_COLUMNS,
    RowFormat,
    Selection,
    Step,
    count_steps,
    judged_samples,
    select,
)
from safechain_ray.datasets.adhoc import copy_of, with_subset
from safechain_ray.datasets.loading import COLUMN_FLAGS, PromptSet, fingerprint, load_prompts
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.runs.identity import name_of
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.progress import RunReporter
from safechain_ray.runs.resolve import ResolvedRun, as_stored, dataset_entry, resolve, resolve_names
from safechain_ray.storage import Folder, redact, without_secrets
from safechain_ray.types import KeepRule, Outcome, Part, Setting

FLAGS = COLUMN_FLAGS | {
    "category_column": "--kind-column (prompts.kind_column in a config file); without one no kinds are balanced"
}


@dataclass(frozen=True)
class DrawnPrompts:
    """The drawn prompts, and the counts of the draw."""

    entry: DatasetEntry
    prompts: PromptSet
    draw: Draw
    evaluation: Mapping[str, str]
    """The fingerprint of each evaluation set without overlap, by its name."""
    config: BuildConfig

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that changes the draw, except the prompts themselves."""
        config = self.config
        identity: dict[str, Any] = {"number": config.prompts.number, "seed": config.seed}
        if config.drop_near_duplicates or config.decontaminate:
            identity["similarity"] = config.similarity
            identity["drop_near_duplicates"] = config.drop_near_duplicates
            identity["decontaminate"] = dict(self.evaluation)
        return identity

    def left_out(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """The reasons for prompts that were not drawn, in the order of the checks, with their numbers by kind."""
        reasons = [UNUSABLE, *map(reason_of, self.evaluation)]
        if self.config.drop_near_duplicates:
            reasons.append(NEAR_DUPLICATE)
        return ((reason, self.draw.left_out.get(reason, {})) for reason in (*reasons, NOT_DRAWN))


def draw_for(config: BuildConfig) -> DrawnPrompts:
    """Read the prompts and draw. Raises InputError for a set that can't be read, and if no prompt is left."""
    entry = _entry(config.prompts)
    evaluation = _evaluation_sets(config.decontaminate)
    everything = load_prompts(entry, flags=FLAGS)
    objection: Objection = no_objection
    if config.drop_near_duplicates or evaluation:
        texts = {name: [prompt.text for prompt in each.prompts] for name, each in evaluation.items()}
        objection = Overlap(config.similarity, config.drop_near_duplicates, texts)
    drawn = draw_prompts(everything.prompts, config.prompts.number, config.seed, objection)
    if not drawn.prompts:
        why = ", ".join(f"{sum(counts.values()):,} {reason}" for reason, counts in drawn.left_out.items() if counts)
        raise InputError(f"{everything.source} has no prompt left: {why}. Fix: check its columns, and --decontaminate.")
    asked = PromptSet(entry.name, drawn.prompts, everything.source, fingerprint(drawn.prompts))
    return DrawnPrompts(entry, asked, drawn, {name: each.fingerprint for name, each in evaluation.items()}, config)


def _entry(prompts: PromptsConfig) -> DatasetEntry:
    entry = dataset_entry(prompts.dataset())
    if prompts.file is None:
        return entry
    if prompts.name not in catalog.datasets():
        raise InputError(
            f"prompts.file replaces a set of the catalog, and the catalog has no {redact(prompts.name)}. Fix: give the "
            "file itself with --prompts."
        )
    copy = with_subset(copy_of(entry, prompts.file), config=prompts.config, split=prompts.split)
    return copy.model_copy(update={"rows": None})


def _evaluation_sets(names: Sequence[str]) -> dict[str, PromptSet]:
    entries = [dataset_entry(DatasetConfig(name=name)) for name in names]
    short = [entry.name for entry in entries]
    if len(set(short)) < len(short):
        raise InputError(
            f"decontaminate: two sets have the same short name ({', '.join(short)}). Fix: rename one of the files."
        )
    return {entry.name: load_prompts(entry) for entry in entries}


class Origin(BaseModel):
    """The catalog's facts about a source of the data set: prompts, model or judge."""

    model_config = ConfigDict(frozen=True)

    name: str
    source: str
    licence: str
    description: str = ""


class ResponseCount(BaseModel):
    """The number of samples with this outcome, verdict (None: it is missing) and flaw."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    safe: bool | None
    flaw: str | None
    count: int


class DatasetFacts(BaseModel):
    """The facts about a finished data set: `rows` of `wanted` (None: all rows), and their provenance."""

    model_config = ConfigDict(frozen=True)

    rows: int
    wanted: int | None
    steps: tuple[Step, ...]
    responses: tuple[ResponseCount, ...]
    prompts: Origin
    model: Origin
    judges: tuple[Origin, ...]
    setting: Setting
    part: Part
    rule: KeepRule
    seed: int
    answers_only: bool
    evaluation_sets: tuple[str, ...]
    similarity: float | None
    caveats: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Wanted rows that could not be selected."""
        return max(0, (self.wanted or 0) - self.rows)


def facts_of(
    config: BuildConfig, drawn: DrawnPrompts, run: ResolvedRun, selection: Selection, files: Sequence[str]
) -> DatasetFacts:
    """The facts about the rows in `files`, which were selected from the run's responses."""
    entries: tuple[Entry, ...] = (drawn.entry, run.model, *run.judges)
    overlaps = config.drop_near_duplicates or bool(config.decontaminate)
    return DatasetFacts(
        rows=len(selection.chosen),
        wanted=config.rows,
        steps=count_steps(drawn.draw.rows, [*drawn.left_out(), *selection.left_out.items()]),
        responses=tuple(
            ResponseCount(outcome=outcome, safe=safe, flaw=flaw, count=count)
            for (outcome, safe, flaw), count in sorted(selection.responses.items(), key=repr)
        ),
        prompts=_origin(drawn.entry, drawn.prompts.source),
        model=_origin(run.model, run.model.source),
        judges=tuple(_origin(judge, judge.kind) for judge in run.judges),
        setting=run.settings[0],
        part=config.part,
        rule=config.rule,
        seed=config.seed,
        answers_only=config.answers_only,
        evaluation_sets=tuple(drawn.evaluation),
        similarity=config.similarity if overlaps else None,
        caveats=tuple(dict.fromkeys(entry.caveat for entry in entries if entry.caveat)),
        files=tuple(f"data/{name}" for name in files),
    )


def _origin(entry: Entry, source: str) -> Origin:
    return Origin(name=entry.name, source=redact(source), licence=entry.licence, description=entry.description)


@dataclass(frozen=True, slots=True)
class Building:
    """Result of a build: the data set's folder, its facts, and the run with the responses."""

    folder: Folder
    facts: DatasetFacts
    config: BuildConfig
    run: Evaluation


def build_dataset(config: BuildConfig, reporter: RunReporter, start_engine: StartEngine) -> Building:
    """Build the training set of `config`. It resumes where an earlier attempt was interrupted.

    Leaves data/train-*.parquet and dataset.json in its folder, and the responses in `run` below it. Raises the errors
    of `evaluate`, and InputError for prompts that can't be read and for a model without thinking tags.
    """
    named = resolve_names(config.run_config())
    if named.family.tags is None:
        raise InputError(
            f"Models of family {named.family.name!r} write no thinking tags, so {named.model.name} yields no "
            "thoughts to train on. Fix: name another model."
        )
    drawn = draw_for(config)
    run = resolve(config.run_config(), {drawn.prompts.name: drawn.prompts})
    identity = _identity(config, drawn, run)
    output = config.output or f"runs/{name_of(f'dataset-{drawn.prompts.name}-{run.model.name}', identity)}"
    with lock_output(output, config.resources, reporter) as locked:
        record = DatasetRecord.opened(locked.folder, identity, without_secrets(config.model_dump(mode="json")))
        wanted = config.prompts.number
        if wanted is not None and len(drawn.prompts.prompts) < wanted:
            reporter.report(f"Only {len(drawn.prompts.prompts):,} prompts of {wanted:,} could be drawn.")
        # Other verdicts would change a data set that was built from this run.
        with open_run(config.run_config(output), run, reporter, retry_verdicts=False) as opened:
            done = finish(opened, reporter, start_engine)
        reporter.report("Selecting the responses.")
        selection = _select(config, run, done)
        judges = tuple(judge.name for judge in run.judges)
        rows = RowFormat(judges, config.part, config.samples, config.answers_only)
        samples = done.folder.counted_samples(SAMPLE_COLUMNS)
        files = write_rows(samples, selection.chosen, rows, locked.folder / "data")
        facts = facts_of(config, drawn, run, selection, files)
        record.finished(facts.model_dump(mode="json"))
        return Building(locked.folder, facts, config, done)


def _identity(config: BuildConfig, drawn: DrawnPrompts, run: ResolvedRun) -> dict[str, Any]:
    """All that changes the rows. They have thoughts and answers also where only whole responses are judged."""
    selection = {"rule": config.rule, "seed": config.seed, "rows": config.rows, "answers_only": config.answers_only}
    return as_stored({"draw": drawn.identity, "run": run.identity() | run.reading_mark, "selection": selection})


def _select(config: BuildConfig, run: ResolvedRun, done: Evaluation) -> Selection:
    judges = [judge.name for judge in run.judges]
    tables = done.folder.counted_samples(COLUMNS)
    judged = chain.from_iterable(judged_samples(table, judges, config.part) for table in tables)
    return select(judged, config.samples, config.rule, config.seed, config.rows)
