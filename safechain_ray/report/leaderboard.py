"""The leaderboard of a sweep: as a document, as leaderboard.parquet and leaderboard.md, and as ranking tables.

A ranking table has models by settings for one judge, safest model first. Only the HTML report shows them; a terminal
has no width for a column per setting."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from safechain_ray.catalog.published import PublishedFigures
from safechain_ray.commands.sweep.record import Status, SweptModel
from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.published import BesideOurs, StandIns, beside
from safechain_ray.metrics.safety import MetricName
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics
from safechain_ray.report.document import (
    Cell,
    Column,
    Document,
    Row,
    Table,
    cell,
    figure_cell,
    figure_columns,
    text_column,
)
from safechain_ray.report.glossary import term_column, term_columns
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    OVER_REFUSAL,
    common_sampling,
    count_cell,
    estimate_cell,
    estimate_lines,
    judge_label,
    over_refusal_legend,
    percent,
    refusal_cell,
    rows_cell,
    safety_cell,
    setting_label,
)
from safechain_ray.report.published import DIFFERS, published_notes
from safechain_ray.report.renderers import markdown
from safechain_ray.report.tables import LEGEND, METRIC_COLUMNS, REFUSAL_COLUMN, notes
from safechain_ray.storage import Folder
from safechain_ray.types import Part, Sampling

PUBLISHED_LEGEND = "Last, in brackets with a p: the published figure."

Counterparts = Mapping[tuple[str, str, Part], BesideOurs]
"""By setting_id, judge and part."""

NOT_DONE: tuple[Status, ...] = ("failed", "running", "queued")
"""The order in which models without all of their results are listed."""

FIGURES = ("safe_at_1", "cons_safe_at_k", "safe_at_k")

WHOLE = ("top_k", "max_tokens", "seed")

ENDS = ("value", "low", "high", "bound_low", "bound_high")

TEXT, COUNT, SHARE = pa.string(), pa.int64(), pa.float64()

SCHEMA = pa.schema(
    {
        "model": TEXT,
        "status": TEXT,
        "error": TEXT,
        "setting_id": TEXT,
        "dataset": TEXT,
        "strategy": TEXT,
        **{name: COUNT if name in WHOLE else SHARE for name in Sampling.model_fields},
        "samples": COUNT,
        "judge": TEXT,
        "part": TEXT,
        **dict.fromkeys(("prompts", "rows", "rows_expected", "missing"), COUNT),
        **{f"{name}_{end}": SHARE for name in FIGURES for end in ENDS},
        "benign_prompts": COUNT,
        "unsafe_on_benign": COUNT,
        **{f"over_refusal_{end}": SHARE for end in ENDS},
        **{f"rate_{outcome}": SHARE for outcome in OUTCOMES},
    }
)


def leaderboard(runs: Sequence[RunMetrics], models: Sequence[SweptModel] = ()) -> Document:
    """The runs of a sweep in its order, after those of `models` that are not done. Equal caveats come once."""
    return Document(
        tables=(*not_done_tables(models), outcomes_table(runs), _safety_table(runs, [{} for _ in runs], "")),
        caveats=tuple(dict.fromkeys(caveat for run in runs for caveat in run.caveats)),
        notes=_merge_notes((run.model, note) for run in runs for note in notes(run)),
    )


def leaderboard_beside(
    runs: Sequence[RunMetrics],
    figures: PublishedFigures,
    stand_ins: StandIns,
    models: Sequence[SweptModel] = (),
) -> Document:
    """`leaderboard` with the published figures below ours, and notes on how ours differ."""
    found = [beside(run, figures, stand_ins) for run in runs]
    star = " * " + DIFFERS.removeprefix("* ") if any(each.differs for of_run in found for each in of_run) else ""
    counterparts = [{(each.setting_id, each.judge, each.part): each for each in of_run} for of_run in found]
    legend = f" {PUBLISHED_LEGEND}{star} Source: {figures.source}."
    document = leaderboard(runs, models)
    return replace(
        document,
        tables=(*document.tables[:-1], _safety_table(runs, counterparts, legend)),
        notes=(
            *document.notes,
            *_merge_notes(
                (run.model, note)
                for run, of_run in zip(runs, found, strict=True)
                for note in published_notes(run, of_run, figures, stand_ins)
            ),
        ),
    )


def _merge_notes(notes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Each note once, after the names of all its models."""
    models: dict[str, list[str]] = {}
    for model, note in notes:
        models.setdefault(note, []).append(model)
    return tuple(f"{', '.join(names)}: {note}" for note, names in models.items())


def not_done_tables(models: Sequence[SweptModel]) -> tuple[Table, ...]:
    """One table of the models that are not done, failed ones first; none if all are done."""
    rows = tuple(
        (
            cell(model.model),
            cell(status_label(model), is_warning=True, style="red" if status == "failed" else ""),
            count_cell(model.attempts),
            cell(model.error or ""),
        )
        for status in NOT_DONE
        for model in models
        if model.status == status
    )
    if not rows:
        return ()
    columns = (text_column("Model"), text_column("Status"), *figure_columns("Attempts"), text_column("Last error"))
    return (Table(f"Not done: {len(rows)} of {len(models)} models", columns, (rows,), is_sortable=True),)


def status_label(model: SweptModel) -> str:
    """The status of a model. One that the latest command left out is skipped."""
    return "skipped" if model.left_out and model.status == "queued" else model.status


def outcomes_table(runs: Sequence[RunMetrics], links: Sequence[str] = (), with_missing: bool = False) -> Table:
    """One row a model, over its settings; with `links` to reports, and with its missing verdicts where asked."""
    missing = (term_column("missing-verdicts", "missing verdicts"),) if with_missing else ()
    rows = []
    for run, link in zip(runs, links or [""] * len(runs), strict=True):
        found, expected = (
            sum(getattr(setting, name) for setting in run.settings) for name in ("rows", "rows_expected")
        )
        counts = {outcome: sum(setting.outcomes[outcome] for setting in run.settings) for outcome in OUTCOMES}
        missing_verdicts = sum(judge.all_missing for setting in run.settings for judge in setting.judges)
        rows.append(
            (
                cell(run.model, link=link),
                rows_cell(found, expected),
                *(count_cell(count, is_warning=outcome != "ok") for outcome, count in counts.items()),
                *([count_cell(missing_verdicts, is_warning=True)] if with_missing else ()),
            )
        )
    columns = (text_column("Model"), *term_columns("rows", *OUTCOMES), *missing)
    return Table("Outcomes of samples", columns, (tuple(rows),), is_sortable=True)


def _safety_table(runs: Sequence[RunMetrics], published: Sequence[Counterparts], legend: str) -> Table:
    """A group for each model: one row a setting, judge and part, with over-refusal in the first one of a setting."""
    refusals = over_refusal_legend(setting for run in runs for setting in run.settings)
    groups = (tuple(_safety_rows(run, of_run, bool(refusals))) for run, of_run in zip(runs, published, strict=True))
    return Table(
        title="Safety and over-refusal" if refusals else "Safety",
        columns=(
            term_column("judge", "Model, setting; judge, part", is_figure=False),
            *METRIC_COLUMNS,
            *([REFUSAL_COLUMN] if refusals else ()),
        ),
        groups=tuple(groups),
        caption=" ".join(filter(None, (refusals, f"{LEGEND}{legend}"))),
    )


def _safety_rows(run: RunMetrics, published: Counterparts, with_refusals: bool) -> list[Row]:
    # Temperature and K are in every row: settings of a sweep are compared by them.
    common = {key for key in common_sampling(run.settings) if key not in ("temperature", "samples")}
    rows: list[Row] = []
    for setting in run.settings:
        for index, judge in enumerate(setting.judges):
            name = [*([run.model] if not rows else []), setting_label(setting, common), judge_label(judge)]
            counterpart = published.get((setting.setting_id, judge.judge, judge.part))
            metrics = (_with_published(safety_cell(judge, metric), metric, counterpart) for metric in METRIC_LABELS)
            refusals = [cell("") if index else refusal_cell(setting)] if with_refusals else []
            rows.append((cell(*name), *metrics, count_cell(judge.missing, is_warning=True), *refusals))
    return rows


def _with_published(ours: Cell, metric: MetricName, counterpart: BesideOurs | None) -> Cell:
    if counterpart is None or metric not in counterpart.shares:
        return ours
    star = "*" if counterpart.differs else ""
    return figure_cell((*ours.lines, f"[p {percent(counterpart.shares[metric])}{star}]"))


def write_leaderboard(
    folder: Folder, runs: Sequence[RunMetrics], models: Sequence[SweptModel], document: Document
) -> None:
    """Write leaderboard.parquet and leaderboard.md into `folder`, whole or not at all."""
    folder.write_parquet("leaderboard.parquet", leaderboard_table(runs, models))
    folder.write_text("leaderboard.md", markdown(document))


def leaderboard_table(runs: Sequence[RunMetrics], models: Sequence[SweptModel] = ()) -> pa.Table:
    """One row per model, setting, judge and part, with every figure and its ends; one row per model without results.

    `status` and `error` are those of the model in sweep.json. Figures are shares in [0, 1], null where nothing was
    judged. `prompts`, `missing` and the safety figures cover the harmful prompts; `over_refusal_*` cover the benign
    ones and are the same in every row of a setting.
    """
    swept = {model.model: {"status": model.status, "error": model.error} for model in models}
    with_rows = {run.model for run in runs if any(setting.judges for setting in run.settings)}
    empty = [{"model": name, **found} for name, found in swept.items() if name not in with_rows]
    filled = [{**row, **swept.get(run.model, {})} for run in runs for row in _file_rows(run)]
    return pa.Table.from_pylist(empty + filled, SCHEMA)


def _file_rows(run: RunMetrics) -> Iterator[Mapping[str, Any]]:
    for setting in run.settings:
        for judge in setting.judges:
            yield {
                "model": run.model,
                "setting_id": setting.setting_id,
                "dataset": setting.dataset,
                "strategy": setting.strategy,
                **{key: int(value) if key in WHOLE else float(value) for key, value in setting.sampling.items()},
                "samples": setting.samples,
                "judge": judge.judge,
                "part": judge.part,
                "prompts": judge.prompts,
                "rows": setting.rows,
                "rows_expected": setting.rows_expected,
                "missing": judge.missing,
                **{f"{name}_{end}": getattr(getattr(judge, name), end) for name in FIGURES for end in ENDS},
                "benign_prompts": setting.benign_prompts,
                "unsafe_on_benign": judge.unsafe_on_benign,
                **{f"over_refusal_{end}": _refusal_end(setting, end) for end in ENDS},
                **{f"rate_{outcome}": rate.value for outcome, rate in setting.outcome_rates.items()},
            }


def _refusal_end(setting: SettingMetrics, end: str) -> float | None:
    found = setting.over_refusal
    return None if found is None else getattr(found.refused, end)


RANKINGS_LEGEND = (
    "Safe@1 in percent with its 95% interval, then ConsSafe@K and Safe@K. Ordered by the mean of Safe@1 over the "
    "settings that every model has; models whose intervals overlap may be equally safe."
)

NOT_JUDGED = "–"


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A run of the sweep. `link` is the path of its report, relative to the sweep's own; empty without a report.

    `folder` is that of the run below the sweep's, as sweep.json has it: the name of the model may be a short one.
    """

    metrics: RunMetrics
    link: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class RankedRun:
    """A run, and its figures by setting as one judge sees one part."""

    run: SweepRun
    by_setting: Mapping[str, JudgeMetrics]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The runs as one judge sees one part, safest first. `settings` are those of any run."""

    judge: str
    settings: tuple[str, ...]
    runs: tuple[RankedRun, ...]


def rankings(runs: Sequence[SweepRun]) -> list[Ranking]:
    """One for each judge and part of the sweep, in the order of their first appearance."""
    found: dict[str, dict[int, dict[str, JudgeMetrics]]] = {}
    common = common_sampling([setting for run in runs for setting in run.metrics.settings])
    for index, run in enumerate(runs):
        for setting in run.metrics.settings:
            for judge in setting.judges:
                if judge.prompts:  # without a harmful prompt there is no safety figure
                    by_setting = found.setdefault(judge_label(judge), {}).setdefault(index, {})
                    by_setting[setting_label(setting, common)] = judge
    return [
        _ranking(judge, [RankedRun(runs[index], by_setting) for index, by_setting in by_run.items()])
        for judge, by_run in found.items()
    ]


def ranking_table(ranking: Ranking) -> Table:
    """One row a model with a link to its report: a column a setting, then its over-refusal where there are figures."""
    settings = [setting for ranked in ranking.runs for setting in ranked.run.metrics.settings]
    common = common_sampling(settings)
    refusals = _settings_with_refusals(settings, common)
    rows = (
        (
            _name_cell(ranked.run),
            *(_safety_cell(ranked.by_setting.get(name)) for name in ranking.settings),
            *_refusal_cells(ranked.run, refusals, common),
        )
        for ranked in ranking.runs
    )
    columns = (
        text_column("Model"),
        *figure_columns(*ranking.settings),
        *(Column((OVER_REFUSAL, name), term="over-refusal") for name in refusals),
    )
    return Table(ranking.judge, columns, (tuple(rows),), over_refusal_legend(settings) or "", "judge", True)


def over_refusal_tables(runs: Sequence[SweepRun]) -> tuple[Table, ...]:
    """A table of the models that have only benign prompts, and so are in no ranking; none where there is no such model.

    Rankings show the over-refusal of all others.
    """
    benign = [run for run in runs if not any(setting.harmful_prompts for setting in run.metrics.settings)]
    settings = [setting for run in benign for setting in run.metrics.settings]
    common = common_sampling(settings)
    names = _settings_with_refusals(settings, common)
    if not names:
        return ()
    rows = tuple((_name_cell(run), *_refusal_cells(run, names, common)) for run in benign)
    columns = (text_column("Model"), *figure_columns(*names))
    return (Table(OVER_REFUSAL, columns, (rows,), over_refusal_legend(settings), "over-refusal", True),)


def _settings_with_refusals(settings: Sequence[SettingMetrics], common: Container[str]) -> list[str]:
    """The labels of the settings with benign prompts, each once."""
    return list(dict.fromkeys(setting_label(each, common) for each in settings if each.over_refusal is not None))


def _refusal_cells(run: SweepRun, names: Sequence[str], common: Container[str]) -> Iterator[Cell]:
    """The over-refusal of a run in the settings with these labels."""
    found = {setting_label(setting, common): setting.over_refusal for setting in run.metrics.settings}
    for name in names:
        refusals = found.get(name)
        yield cell(NO_FIGURE) if refusals is None else estimate_cell(refusals.refused)


def _ranking(judge: str, runs: Sequence[RankedRun]) -> Ranking:
    settings = tuple(dict.fromkeys(name for ranked in runs for name in ranked.by_setting))
    shared = [name for name in settings if all(name in ranked.by_setting for ranked in runs)]

    def mean(ranked: RankedRun) -> float:
        values = [ranked.by_setting[name].safe_at_1.value or 0.0 for name in shared]
        return sum(values) / max(1, len(values))

    return Ranking(judge, settings, tuple(sorted(runs, key=mean, reverse=True)))


def _name_cell(run: SweepRun) -> Cell:
    return cell(run.metrics.model, link=run.link)


def _safety_cell(judge: JudgeMetrics | None) -> Cell:
    if judge is None:
        return cell(NOT_JUDGED)
    first, *others = (getattr(judge, field) for field in METRIC_LABELS)
    return figure_cell([*estimate_lines(first), " · ".join(percent(metric.value) for metric in others)])
