"""The fine-grained analysis of a finished run, from its folder into its `analysis.json`; no engine is started."""

from collections.abc import Iterable

import pyarrow as pa

from safechain_ray import catalog
from safechain_ray.analysis.fine_grained import FineGrained, analyse_setting, notes
from safechain_ray.analysis.first_unsafe import POSITION_COLUMNS
from safechain_ray.analysis.rows import ANALYSED_COLUMNS, SettingRows, rows_by_setting
from safechain_ray.errors import UnknownNameError
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.pipelines.runs.run_record import RunRecord
from safechain_ray.schema import PIECES_SCHEMA
from safechain_ray.storage import open_folder

ANALYSIS_FILE = "analysis.json"


def analyse(run: str, benign_categories: tuple[str, ...] = ()) -> FineGrained:
    """The analysis of the finished run in the folder `run`, with the verdicts that were added later.

    Prompts of `benign_categories` are benign beside those that the catalog calls so. Raises InputError where there is
    no finished run or no such category, StorageError where its folder can't be read or written.
    """
    folder = RunFolder(open_folder(run))
    record = RunRecord.of_finished(folder)
    outline = record.outline
    asked = (*outline.asked, *outline.added)
    rows = rows_by_setting(folder.counted_samples(ANALYSED_COLUMNS), folder.added_verdicts(), outline.settings, asked)
    _check_categories(benign_categories, rows.values())
    positions = PIECES_SCHEMA.empty_table().select(POSITION_COLUMNS)
    pieces = pa.concat_tables([positions, *folder.judged_pieces(POSITION_COLUMNS)])
    settings = tuple(
        analyse_setting(
            setting,
            rows[setting.setting_id],
            asked,
            outline.refusal_judges,
            (*benign_categories, *_benign(setting.dataset)),
            pieces,
        )
        for setting in outline.settings
    )
    entries = map(catalog.judges().get, pieces["judge"].unique().to_pylist())
    caveats = [*outline.caveats, *(entry.caveat for entry in entries if entry is not None and entry.caveat)]
    analysis = FineGrained(
        model=outline.model,
        caveats=tuple(dict.fromkeys(caveats)),
        notes=tuple(notes(settings, asked, outline.refusal_judges, thinks=outline.family.tags is not None)),
        settings=settings,
    )
    folder.folder.write_text(ANALYSIS_FILE, analysis.model_dump_json(indent=2) + "\n")
    return analysis


def _check_categories(wanted: Iterable[str], settings: Iterable[SettingRows]) -> None:
    found = {category for rows in settings for category in rows.categories}
    for category in wanted:
        if category not in found:
            raise UnknownNameError("category", category, found)


def _benign(dataset: str) -> tuple[str, ...]:
    """The benign categories of a data set; none of one that the catalog does not name."""
    entry = catalog.datasets().get(dataset)
    return entry.benign_categories if entry is not None else ()
