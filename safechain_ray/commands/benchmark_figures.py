"""The figures of a benchmark run: measured from its samples, and read from its metrics.json."""

from collections import defaultdict

from safechain_ray.commands.resolve_benchmark import ResolvedBenchmarks
from safechain_ray.errors import InputError
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics, benchmark_figures
from safechain_ray.metrics.counts import COUNTED_COLUMNS, count_table, merge
from safechain_ray.metrics.summary import summarise
from safechain_ray.runs.folder import METRICS_FIX, RunFolder
from safechain_ray.storage import Folder, read_record


def measure_benchmarks(benchmarks: ResolvedBenchmarks, folder: RunFolder, ks: tuple[int, ...]) -> BenchmarkRunMetrics:
    """pass@k for each of `ks`, of every benchmark, over all samples in the folder."""
    counts = []
    grades: defaultdict[str, list[tuple[str, bool | None]]] = defaultdict(list)
    for table in folder.counted_samples((*COUNTED_COLUMNS, "dataset", "grade")):
        counts.append(count_table(table))
        columns = (table[name].to_pylist() for name in ("dataset", "prompt_id", "grade"))
        for name, problem_id, grade in zip(*columns, strict=True):
            grades[name].append((problem_id, grade["correct"]))
    run = benchmarks.run
    prompts = {name: len(problems) for name, problems in benchmarks.problems.items()}
    settings = summarise(merge(counts), run.settings, (), prompts).settings
    return BenchmarkRunMetrics(
        model=run.model.name,
        caveats=benchmarks.caveats,
        benchmarks=tuple(
            benchmark_figures(
                setting,
                benchmarks.entries[setting.dataset].grader,
                [problem.problem_id for problem in benchmarks.problems[setting.dataset]],
                benchmarks.problems_published(setting.dataset),
                grades[setting.dataset],
                ks,
                benchmarks.entries[setting.dataset].style,
            )
            for setting in settings
        ),
    )


def read_benchmark_metrics(folder: Folder) -> BenchmarkRunMetrics:
    """The metrics.json of a benchmark run. Raises InputError where there is none, or one that does not parse."""
    if not folder.exists("metrics.json"):
        raise InputError(f"{folder} has no metrics.json: its benchmarks have not ended. Their command continues them.")
    return read_record(folder, "metrics.json", BenchmarkRunMetrics, "file of benchmarks' figures", METRICS_FIX)
