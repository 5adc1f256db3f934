"""Writes the page of a run, benchmark, judge study, sweep or comparison: into its folder, or to a path or URI."""

from collections.abc import Iterable
from contextlib import suppress

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.commands.compare import compare_own_strategies
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.commands.fine_grained import ANALYSIS_FILE
from safechain_ray.commands.resolve_benchmark import read_benchmark_metrics
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.commands.sweep.sweep import read_sweep
from safechain_ray.errors import InputError
from safechain_ray.metrics.agreement import JudgeStudy
from safechain_ray.metrics.published import NO_STAND_INS, StandIns
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.html.benchmark import benchmark_page
from safechain_ray.report.html.comparison import comparison_page
from safechain_ray.report.html.run import run_page
from safechain_ray.report.html.sample_sources import pack_graded, pack_samples, pack_study
from safechain_ray.report.html.study import study_page
from safechain_ray.report.html.sweep import sweep_page
from safechain_ray.report.leaderboard import SweepRun
from safechain_ray.report.sweep_overview import Effort, effort
from safechain_ray.runs.folder import RunFolder, read_figures
from safechain_ray.runs.run_file import RunFile
from safechain_ray.runs.run_manifest import metrics_of
from safechain_ray.storage import Folder, read_record, redact, write_uri

REPORT = "report.html"


def write_report(
    folder: Folder, target: str | None = None, with_text: int | None = None, stand_ins: StandIns = NO_STAND_INS
) -> str:
    """Make the report of the finished run in `folder`, with the texts of at most `with_text` samples. By
    default `pack_samples` chooses their number.

    `target` is the file's path or URI, by default `report.html` in the run's folder. Returns where the report was
    written, without secrets. Raises InputError where there is no run, or one that has not ended.
    """
    metrics = metrics_of(folder.uri)
    record = _record(folder)
    samples = pack_samples(RunFolder(folder), metrics, with_text)
    strategies = compare_own_strategies(folder.uri) if len(metrics.settings) > 1 else None
    page = run_page(metrics, record, samples, _read_analysis(folder, metrics), stand_ins, strategies)
    return _write(page, folder, target)


def write_benchmark_report(
    folder: Folder, target: str | None = None, stand_in: str | None = None, with_text: int | None = None
) -> str:
    """Make the report of the benchmarks in `folder`; `target`, `with_text` and the result are as in `write_report`.

    Published figures beside ours are those of the same model, or of `stand_in`. Raises InputError where there are no
    benchmarks, or they have not ended, and UnknownNameError for a stand-in without published figures.
    """
    metrics = read_benchmark_metrics(folder)
    record = _record(folder)
    samples = pack_graded(RunFolder(folder), metrics, with_text)
    return _write(benchmark_page(metrics, record, samples, stand_in), folder, target)


def write_study_report(folder: Folder, target: str | None = None, with_text: int | None = None) -> str:
    """Make the report of the judge study in `folder`; `target`, `with_text` and the result are as in `write_report`.

    Raises InputError where there is no study, or one that has not ended.
    """
    study = read_figures(folder, "study.json", JudgeStudy, "judge study")
    record = _record(folder)
    return _write(study_page(study, record, pack_study(RunFolder(folder), study, with_text)), folder, target)


def write_sweep_report(folder: Folder, target: str | None = None, stand_ins: StandIns = NO_STAND_INS) -> str:
    """Make the report of the sweep in `folder`: figures, with links to its runs' own reports where they were made.

    `target` and the result are as in `write_report`. Raises InputError where there is no sweep.
    """
    results = read_sweep(folder.uri)
    runs = [
        SweepRun(metrics, f"{name}/{REPORT}" if folder.exists(f"{name}/{REPORT}") else "", name)
        for name, metrics in results.metrics.items()
    ]
    return _write(sweep_page(runs, stand_ins, results.models, _efforts(folder, results.models)), folder, target)


def write_comparison(compared: ComparedModels, target: str, stand_ins: StandIns | None) -> str:
    """Write the page that compares models to `target`, a path or URI; return it without secrets."""
    write_uri(target, comparison_page(compared, stand_ins).encode())
    return redact(target)


def _record(folder: Folder) -> RunFile:
    record = RunFolder(folder).read_run()
    if record is None:
        raise InputError(f"{folder} has no run.json beside its figures. Fix: copy the whole folder of the run.")
    return record


def _write(page: str, folder: Folder, target: str | None) -> str:
    if target is not None:
        write_uri(target, page.encode())
        return redact(target)
    folder.write_bytes(REPORT, page.encode())
    return f"{folder}/{REPORT}"


def _efforts(folder: Folder, models: Iterable[SweptModel]) -> dict[str, Effort]:
    """The time and cost of the models' runs. A run that can't be read has none: the sweep says why it failed."""
    found = {}
    for model in models:
        with suppress(InputError):
            run = RunFolder(folder / model.folder).read_run()
            if run is not None and (each := effort(run)) is not None:
                found[model.model] = each
    return found


def _read_analysis(folder: Folder, metrics: RunMetrics) -> FineGrained | None:
    """The run's analysis, if there is one. Raises InputError for one that can't be read, or is of other settings."""
    if not folder.exists(ANALYSIS_FILE):
        return None
    fix = "run `safechain-ray report RUN --fine-grained` to make the analysis again."
    analysis = read_record(folder, ANALYSIS_FILE, FineGrained, "fine-grained analysis", fix)
    if {each.setting_id for each in analysis.settings} != {each.setting_id for each in metrics.settings}:
        raise InputError(
            f"{folder}/{ANALYSIS_FILE} and metrics.json are of different settings. Fix: run the run's own command "
            "again, then `safechain-ray report RUN --fine-grained`."
        )
    return analysis
