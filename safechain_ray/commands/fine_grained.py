"""Figures added to a finished run without an engine: the fine-grained analysis, and benign categories.

Benign categories are added for data sets whose benign categories neither config nor catalog names.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray import catalog
from safechain_ray.analysis.fine_grained import FineGrained, analyse_setting, notes
from safechain_ray.analysis.rows import ANALYSED_COLUMNS, rows_by_setting
from safechain_ray.analysis.thought_answer import POSITION_COLUMNS
from safechain_ray.config import ResourcesConfig
from safechain_ray.datasets.loading import NO_CATEGORIES
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.likely_keys import name_for_message
from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.run_manifest import RunManifest, measure_and_write, refusal_tables
from safechain_ray.storage import open_folder
from safechain_ray.types import PIECES_SCHEMA


def name_benign(run: str, categories: Sequence[str]) -> RunMetrics:
    """Record `categories` as benign in the run.json of a finished run, and rewrite its metrics.json.

    Nothing is generated or judged again.

    Raises:
        InputError: No finished run in the folder, a category that none of its prompts has, or another running driver.
    """
    folder = RunFolder(open_folder(run))
    run_manifest = RunRecord.of_finished(folder).run_manifest  # a folder without a run is not locked
    prompts = _prompts_by_category(folder)
    if unknown := prompts.keys() - run_manifest.kinds.keys():
        raise InputError(
            f"{folder.folder} has samples of data set {min(unknown)!r}, which its run.json does not name. Fix: run the "
            "run's own command again: it quarantines samples of other runs."
        )
    known = {category for found in prompts.values() for category in found}
    for category in categories:
        if known == {NO_CATEGORIES} and category != NO_CATEGORIES:
            raise InputError(
                f"Benign category {name_for_message(category)!r}: the prompts of {folder.folder} were read without "
                f"categories. Fix: leave it out, or run the run's command again with --category-column and another "
                "--output."
            )
        if category not in known:
            raise UnknownNameError("category", category, known)
    with lock_output(run, ResourcesConfig(), RecordingReporter()) as locked:
        record = RunRecord.of_finished(locked)
        added = {
            name: {category: found[category] for category in categories if category in found}
            for name, found in prompts.items()
        }
        record.add_benign(added)
        return measure_and_write(locked, record.run_manifest)


def _prompts_by_category(folder: RunFolder) -> dict[str, Counter[str]]:
    """By data set, how many prompts each category has."""
    columns = ["dataset", "prompt_id", "category"]
    prompts = {
        prompt
        for table in folder.counted_samples(columns)
        for prompt in zip(*(table[name].to_pylist() for name in columns), strict=True)
    }
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for dataset, _, category in prompts:
        found[dataset][category] += 1
    return found


ANALYSIS_FILE = "analysis.json"


def analyse(run: str, benign_categories: tuple[str, ...] = ()) -> FineGrained:
    """The analysis of the finished run in the folder `run`, with the verdicts that were added later.

    `benign_categories` are first noted in the run as `name_benign` does. Raises InputError where there is no finished
    run or no such category, StorageError where its folder can't be read or written.
    """
    if benign_categories:
        name_benign(run, benign_categories)
    folder = RunFolder(open_folder(run))
    run_manifest = RunRecord.of_finished(folder).run_manifest
    asked = (*run_manifest.asked, *run_manifest.added)
    is_found = run_manifest.refusal_guard is not None or run_manifest.settings_of_rule
    rule = [run_manifest.refusals] if is_found else []
    rows = rows_by_setting(
        folder.counted_samples(ANALYSED_COLUMNS),
        [*folder.added_verdicts(run_manifest.added_judges), *refusal_tables(folder, run_manifest)],
        run_manifest.settings,
        (*asked, *rule),
    )
    positions = PIECES_SCHEMA.empty_table().select(POSITION_COLUMNS)
    prefixes = pa.concat_tables([positions, *_harmful_prefixes(folder, run_manifest)])
    refusal_judges = (*run_manifest.refusal_judges, *(judge for judge, _ in rule))
    settings = tuple(
        analyse_setting(
            setting,
            rows[setting.setting_id],
            asked,
            refusal_judges,
            run_manifest.kinds.get(setting.dataset, PromptKinds()).benign_categories or (),
            prefixes,
        )
        for setting in run_manifest.settings
    )
    entries = map(catalog.judges().get, prefixes["judge"].unique().to_pylist())
    caveats = [*run_manifest.caveats, *(entry.caveat for entry in entries if entry is not None and entry.caveat)]
    analysis = FineGrained(
        model=run_manifest.model,
        caveats=tuple(dict.fromkeys(caveats)),
        notes=tuple(notes(settings, asked, refusal_judges, thinks=run_manifest.family.tags is not None)),
        settings=settings,
    )
    folder.write_figures(ANALYSIS_FILE, analysis)
    return analysis


def _harmful_prefixes(folder: RunFolder, run_manifest: RunManifest) -> Iterator[pa.Table]:
    """The verdicts on prefixes of thoughts, without those on benign prompts."""
    tables = list(folder.judged_prefixes(run_manifest.prefix_judges, POSITION_COLUMNS))
    if not tables or not any(kinds.benign_categories for kinds in run_manifest.kinds.values()):
        yield from tables
        return
    benign: set[str] = set()
    for samples in folder.counted_samples(("sample_id", "dataset", "category")):
        columns = (samples[name].to_pylist() for name in ("sample_id", "dataset", "category"))
        benign |= {
            sample_id
            for sample_id, dataset, category in zip(*columns, strict=True)
            if run_manifest.kinds.get(dataset, PromptKinds()).is_benign(category)
        }
    ids = pa.array(sorted(benign), pa.string())
    for table in tables:
        yield table.filter(pc.invert(pc.is_in(table["sample_id"], value_set=ids)))
