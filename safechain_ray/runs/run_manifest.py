"""The manifest of a run, and its metrics: settings, judges and expected prompts from run.json, counts from its rows.

For runs with benign prompts, refusals are part of the counts. They are found by the first of these that the run has:

1. a guard whose verdicts say whether a response refuses (`Verdict.refusal`),
2. a judge of kind `refusal_match`,
3. refusal matching on the stored text.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray import catalog
from safechain_ray.catalog.entries import Entry, Family
from safechain_ray.errors import InputError, StorageError
from safechain_ray.judges.refusal_match import read_phrases, refusal_match
from safechain_ray.metrics.counts import COUNTED_COLUMNS, Counts, count_table, count_verdicts, merge
from safechain_ray.metrics.safety import GUARD_REFUSALS, REFUSAL_RULE, BenignPrompts, PromptKinds, RefusalSource
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.metrics.user_metrics import Figures, columns_of, measure_user_metrics, user_metrics
from safechain_ray.runs.folder import RunFolder, read_metrics
from safechain_ray.runs.run_file import RunFile, StoredDataset
from safechain_ray.storage import open_folder
from safechain_ray.types import VERDICTS_SCHEMA, Part, Setting, verdicts_table

RULE_COLUMNS = ("sample_id", "setting_id", "prompt_id", "response")
"""The columns of `SAMPLES_SCHEMA` that the rule reads."""

GUARD_COLUMNS = ("sample_id", "setting_id", "prompt_id", "verdicts")
"""The columns of `SAMPLES_SCHEMA` that refusals of a guard are read from."""


def refusal_verdicts(samples: pa.Table, setting_ids: Collection[str]) -> pa.Table:
    """A verdict of REFUSAL_RULE on each response of these settings: safe if one of the project's phrases matches.

    Example:
        count_table(samples) + count_verdicts(refusal_verdicts(samples, {setting.setting_id}))
    """
    phrases = read_phrases()
    asked = pc.is_in(samples["setting_id"], value_set=pa.array(setting_ids, pa.string()))
    judged = samples.select(RULE_COLUMNS).filter(pc.and_(asked, pc.is_valid(samples["response"])))
    texts = judged["response"].to_pylist()
    refused = [refusal_match(text, phrases) if text.strip() else None for text in texts]
    rows = judged.num_rows
    columns = {name: pa.nulls(rows, VERDICTS_SCHEMA.field(name).type) for name in VERDICTS_SCHEMA.names}
    columns |= {name: judged[name] for name in RULE_COLUMNS[:-1]}
    columns |= {"judge": pa.array([REFUSAL_RULE] * rows), "part": pa.array(["response"] * rows)}
    columns["unsafe"] = pa.array([None if each is None else not each for each in refused], pa.bool_())
    return pa.table(columns, schema=VERDICTS_SCHEMA)


def guard_refusals(verdicts: pa.Table, guard: str) -> pa.Table:
    """A verdict on each response that `guard` judged: safe if its verdict says that the response refuses.

    `verdicts` and the result are tables of `VERDICTS_SCHEMA`. A verdict that does not say it is missing.
    """
    is_asked = pc.and_(pc.equal(verdicts["judge"], guard), pc.equal(verdicts["part"], "response"))
    judged = verdicts.filter(is_asked)
    columns = {name: pa.nulls(judged.num_rows, VERDICTS_SCHEMA.field(name).type) for name in VERDICTS_SCHEMA.names}
    columns |= {name: judged[name] for name in ("sample_id", "setting_id", "prompt_id", "part")}
    columns |= {"judge": pa.array([GUARD_REFUSALS + guard] * judged.num_rows, pa.string())}
    columns |= {"unsafe": pc.invert(judged["refusal"])}
    return pa.table(columns, schema=VERDICTS_SCHEMA)


Asked = tuple[tuple[str, Part], ...]
"""Pairs of judge and part. Every sample should have a verdict for each pair."""


@dataclass(frozen=True, slots=True)
class RunManifest:
    """A run without its rows, as its run.json has it.

    `fingerprints` are hashes of the prompts by data set. `judge_identities` define how each judge and vote decides.
    `prefix_judges` judged prefixes of the thoughts. `refusal_judges` match phrases, and `refusal_guards` are models
    whose verdicts may say that a response refuses.
    """

    model: str
    family: Family
    settings: tuple[Setting, ...]
    expected_prompts: Mapping[str, int]
    fingerprints: Mapping[str, str]
    asked: Asked
    added: Asked
    prefix_judges: frozenset[str]
    judge_identities: Mapping[str, Any]
    refusal_judges: tuple[str, ...] = ()
    refusal_guards: tuple[str, ...] = ()
    kinds: Mapping[str, PromptKinds] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunFile) -> "RunManifest":
        """The manifest of a run of a model. Raises InputError for a record without settings or a family."""
        identity = run.identity
        if not identity.settings or identity.family is None:
            raise InputError(
                "The run.json names no settings: it is damaged, or belongs to no run of a model. "
                "Fix: name a run of `evaluate`, or restore run.json from a copy."
            )
        judges = {judge.name: judge.tree for judge in identity.judges or ()}
        own = judges | {vote.name: vote.tree for vote in identity.votes}
        identities = own | {name: judge.identity.tree for name, judge in run.added.items()}
        return cls(
            model=identity.model_name,
            family=identity.family,
            settings=identity.settings,
            expected_prompts={name: dataset.prompts for name, dataset in run.datasets.items()},
            fingerprints={name: dataset.hash for name, dataset in run.datasets.items()},
            asked=tuple((name, part) for name in own for part in identity.parts or ()),
            added=tuple((name, part) for name, judge in run.added.items() for part in judge.parts),
            prefix_judges=frozenset(run.prefix_judges),
            judge_identities=identities,
            refusal_judges=tuple(name for name, judge in identities.items() if judge.get("kind") == "refusal_match"),
            refusal_guards=tuple(name for name, judge in identities.items() if _says_refusals(judge)),
            kinds={name: _kinds(name, dataset) for name, dataset in run.datasets.items()},
        )

    @property
    def added_judges(self) -> frozenset[str]:
        """Judges whose verdicts were added after the run."""
        return frozenset(judge for judge, _ in self.added)

    @property
    def refusals(self) -> RefusalSource:
        """The source of refusals: the run's first guard, else its first judge of refusals, that judged whole responses.

        Without one, the rule.
        """
        if self.refusal_guard is not None:
            return GUARD_REFUSALS + self.refusal_guard, "response"
        found = ((judge, part) for judge, part in (*self.asked, *self.added) if judge in self.refusal_judges)
        return next((each for each in found if each[1] == "response"), (REFUSAL_RULE, "response"))

    @property
    def refusal_guard(self) -> str | None:
        """The first guard that says whether responses refuse, and judged whole responses."""
        asked = (judge for judge, part in (*self.asked, *self.added) if part == "response")
        return next((judge for judge in asked if judge in self.refusal_guards), None)

    @property
    def seeking_refusals(self) -> frozenset[str]:
        """Judges of refusals, and votes with such a judge."""
        votes = (
            name
            for name, judge in self.judge_identities.items()
            if set(judge.get("judges") or ()) & set(self.refusal_judges)
        )
        return frozenset({*self.refusal_judges, *votes})

    @property
    def settings_of_rule(self) -> frozenset[str]:
        """Settings whose refusals the rule has to find: those with benign prompts, in a run without a refusal judge."""
        if self.refusals[0] != REFUSAL_RULE:
            return frozenset()
        return frozenset(
            setting.setting_id
            for setting in self.settings
            if self.kinds.get(setting.dataset, PromptKinds()).benign_categories
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """The catalog's caveats about the model and the judges."""
        judges = (catalog.judges().get(judge) for judge, _ in (*self.asked, *self.added))
        models = (catalog.models().get(self.model), catalog.api_models().get(self.model))
        entries: list[Entry | None] = [*models, *judges]
        return tuple(dict.fromkeys(entry.caveat for entry in entries if entry is not None and entry.caveat))


def counted(folder: RunFolder, run_manifest: RunManifest) -> Counts:
    """The counts of all samples in the folder, with the verdicts that were added later and the refusals."""
    return merge(chain(_counted_samples(folder, run_manifest), _counted_verdicts(folder, run_manifest)))


def refusal_tables(folder: RunFolder, run_manifest: RunManifest) -> Iterator[pa.Table]:
    """The refusals that the rule or a guard finds, as tables of `VERDICTS_SCHEMA`."""
    columns = _refusal_columns(run_manifest)
    if columns:
        for table in folder.counted_samples(columns):
            yield _refusals_in(table, run_manifest)
    guard = run_manifest.refusal_guard
    if guard is not None and guard in run_manifest.added_judges:
        for table in folder.added_verdicts([guard]):
            yield guard_refusals(table, guard)


def _refusal_columns(run_manifest: RunManifest) -> tuple[str, ...]:
    """The columns of the samples from which refusals are found; empty where a judge's own verdicts are refusals."""
    guard = run_manifest.refusal_guard
    if guard is not None:
        return () if guard in run_manifest.added_judges else GUARD_COLUMNS
    return RULE_COLUMNS if run_manifest.settings_of_rule else ()


def _refusals_in(samples: pa.Table, run_manifest: RunManifest) -> pa.Table:
    guard = run_manifest.refusal_guard
    if guard is not None:
        return guard_refusals(verdicts_table(samples.combine_chunks()), guard)
    return refusal_verdicts(samples, run_manifest.settings_of_rule)


def _counted_samples(folder: RunFolder, run_manifest: RunManifest) -> Iterator[Counts]:
    columns = _refusal_columns(run_manifest)
    for table in folder.counted_samples(tuple(dict.fromkeys((*COUNTED_COLUMNS, *columns)))):
        yield count_table(table)
        if columns:
            yield count_verdicts(_refusals_in(table, run_manifest))


def _counted_verdicts(folder: RunFolder, run_manifest: RunManifest) -> Iterator[Counts]:
    guard = run_manifest.refusal_guard
    for table in folder.added_verdicts(run_manifest.added_judges):
        yield count_verdicts(table)
        if guard is not None and guard in run_manifest.added_judges:
            yield count_verdicts(guard_refusals(table, guard))


def measure(folder: RunFolder, run_manifest: RunManifest) -> RunMetrics:
    """The metrics over all samples in the folder, with the verdicts that were added later."""
    asked = (*run_manifest.asked, *run_manifest.added)
    metrics = summarise(
        counted(folder, run_manifest),
        run_manifest.settings,
        asked,
        run_manifest.expected_prompts,
        benign=BenignPrompts(run_manifest.kinds, run_manifest.refusals, run_manifest.seeking_refusals),
    )
    metrics = metrics.model_copy(update={"model": run_manifest.model, "caveats": run_manifest.caveats})
    return _with_user_metrics(metrics, folder)


def _with_user_metrics(metrics: RunMetrics, folder: RunFolder) -> RunMetrics:
    """The metrics with those of the user's catalog, measured over all samples in the folder."""
    found = user_metrics()
    if not found:
        return metrics
    return metrics.with_user_metrics(measure_user_metrics(found, folder.counted_samples(columns_of(found))))


def _stored_user_metrics(folder: RunFolder) -> Figures:
    """The figures of users' metrics in metrics.json, by setting id; none without a readable file."""
    try:
        stored = read_metrics(str(folder.folder))
    except (InputError, StorageError):
        return {}
    return {setting.setting_id: setting.user_metrics for setting in stored.settings}


def measure_and_write(folder: RunFolder, run_manifest: RunManifest) -> RunMetrics:
    """Write the metrics over all samples in the folder to its metrics.json."""
    kept = _stored_user_metrics(folder)  # of catalogs that are not in use now
    measured = measure(folder, run_manifest)
    now = {setting.setting_id: setting.user_metrics for setting in measured.settings}
    metrics = measured.with_user_metrics(kept).with_user_metrics(now)
    folder.write_figures("metrics.json", metrics)
    return metrics


def _says_refusals(judge: Mapping[str, Any]) -> bool:
    """Whether the verdicts of a judge may say that a response refuses, by its identity."""
    answers = judge.get("answers")
    return isinstance(answers, dict) and answers.get("refusal") is not None


def _kinds(name: str, dataset: StoredDataset) -> PromptKinds:
    """The kinds of a data set's prompts by run.json; those of the catalog for a run of an earlier version."""
    if dataset.has_kinds:
        kinds = PromptKinds(dataset.benign_categories, dataset.benign_prompts)
    else:
        entry = catalog.datasets().get(name)
        kinds = PromptKinds(None if entry is None else entry.benign_categories)
    known = kinds.benign_categories or ()
    added = {category: count for category, count in dataset.benign_added.items() if category not in known}
    return PromptKinds((*known, *added), kinds.benign_prompts + sum(added.values())) if added else kinds


POOLED = (
    "These figures are of an earlier version and pool harmful and benign prompts. The samples that are needed to "
    "separate them are not in this folder."
)


def metrics_of(uri: str) -> RunMetrics:
    """The metrics of the run in the folder `uri`.

    Metrics of the user's catalog are measured again, as their code may have changed. Figures of an earlier version are
    recomputed from the run's samples. Without the samples the stored figures are
    returned unchanged, with POOLED as a caveat if a data set may have benign prompts. Nothing is written.

    Raises:
        InputError: no metrics.json in the folder, or one that does not parse.
    """
    stored = read_metrics(uri)
    run = RunFolder(open_folder(uri))
    if stored.harmful_apart:
        return _with_user_metrics(stored, run)
    run_file = run.read_run()
    if run_file is not None:
        anew = measure(run, RunManifest.of(run_file))
        if _rows(anew) >= _rows(stored):
            return anew
    if all(_is_harmful(setting.dataset) for setting in stored.settings):
        return stored
    return stored.model_copy(update={"caveats": (*stored.caveats, POOLED)})


def _rows(metrics: RunMetrics) -> int:
    return sum(setting.rows for setting in metrics.settings)


def _is_harmful(dataset: str) -> bool:
    """Whether the catalog says that every prompt of the data set is harmful."""
    entry = catalog.datasets().get(dataset)
    return entry is not None and entry.benign_categories == ()
