"""From a benchmark config to a resolved benchmark run: model, settings, problems, graders; and its figures."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from safechain_ray import catalog
from safechain_ray.benchmarks.base import Problem, grader_entry, load_problems, with_source
from safechain_ray.catalog.benchmark_entries import DEFAULT_STYLE, BenchmarkEntry
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.config import BenchmarkChoice, BenchmarkConfig
from safechain_ray.config.base import validated
from safechain_ray.datasets.loading import NO_CATEGORIES, PromptSet
from safechain_ray.decoding.base import check_strategy
from safechain_ray.errors import InputError
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics, benchmark_figures
from safechain_ray.metrics.counts import COUNTED_COLUMNS, count_table, merge
from safechain_ray.metrics.summary import summarise
from safechain_ray.runs.folder import METRICS_FIX, RunFolder
from safechain_ray.runs.identity import name_of
from safechain_ray.runs.resolve import ResolvedRun, as_stored
from safechain_ray.runs.resolve_model import check_limits, find_model
from safechain_ray.storage import Folder, read_record, redact
from safechain_ray.types import Prompt, Setting, StrategySpec, short_hash

DEFAULT_STRATEGY = StrategySpec().name


@dataclass(frozen=True)
class ResolvedBenchmarks:
    """All facts about a benchmark run that are known before an engine starts.

    `run` generates: its data sets are the benchmarks, it has no judges. Both mappings go by the benchmark's name.
    """

    run: ResolvedRun
    entries: Mapping[str, BenchmarkEntry]
    problems: Mapping[str, tuple[Problem, ...]]

    @property
    def run_code(self) -> tuple[str, ...]:
        """The benchmarks whose graders execute code of the model."""
        return tuple(name for name, entry in self.entries.items() if grader_entry(entry).runs_code)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The catalog's caveats about the model and the benchmarks."""
        caveats = (self.run.model.caveat, *(entry.caveat for entry in self.entries.values()))
        return tuple(caveat for caveat in caveats if caveat)

    @property
    def grader_versions(self) -> dict[str, int]:
        """The version of each benchmark's grader."""
        return {name: grader_entry(entry).version for name, entry in self.entries.items()}

    def problems_published(self, name: str) -> int | None:
        """How many problems the whole benchmark has, by the catalog."""
        return catalog.benchmarks()[name].rows

    def identity(self) -> dict[str, Any]:
        """All that changes the results, and nothing else. A run is resumed by a config of the same identity."""
        of_run = self.run.identity()
        sets = self.run.prompt_sets
        graded = {
            # Runs of earlier versions name no style: they are of the default one.
            name: {"problems": sets[name].fingerprint, "grader": entry.grader}
            | ({} if entry.style == DEFAULT_STYLE else {"style": entry.style})
            for name, entry in self.entries.items()
        }
        decoded = {
            key: of_run[key] for key in ("model", "family", "settings", "decoding", "strategy_code") if key in of_run
        }
        return as_stored(decoded | self.run.reading_mark | {"benchmarks": graded})

    def facts(self) -> dict[str, Any]:
        """The facts in run.json about the problems: those of a run, and who grades them."""
        return self.run.facts() | {"graders": self.grader_versions}

    def short_name(self) -> str:
        """A folder name for a run without `output`."""
        return name_of(f"benchmark-{self.run.model.name}", self.identity())


def resolve_benchmarks(config: BenchmarkConfig) -> ResolvedBenchmarks:
    """Look up all names and load the problems. Raises InputError for a config that can't work."""
    model = find_model(config.model)
    family = catalog.family_of(model)
    check_strategy(config.strategy, family, takes_prefill=not isinstance(model, ApiEntry))
    if isinstance(model, ApiEntry):
        check_limits(model, config.resources)
    entries = {choice.name: _entry(choice) for choice in config.benchmarks}
    for entry in entries.values():
        _check_style(entry, config, takes_prefill=not isinstance(model, ApiEntry))
    settings = tuple(_setting(entry, config) for entry in entries.values())
    problems = {choice.name: load_problems(entries[choice.name], choice.limit) for choice in config.benchmarks}
    prompts = {name: as_prompts(entries[name], found) for name, found in problems.items()}
    return ResolvedBenchmarks(ResolvedRun(model, family, settings, prompts, (), ()), entries, problems)


def as_prompts(entry: BenchmarkEntry, problems: Iterable[Problem]) -> PromptSet:
    """The problems as the prompts of a run. The fingerprint covers the references of the grader too."""
    found = tuple(problems)
    prompts = tuple(Prompt(problem.problem_id, problem.prompt, NO_CATEGORIES) for problem in found)
    return PromptSet(entry.name, prompts, redact(entry.source), short_hash(*sorted(map(_digest, found))))


def _digest(problem: Problem) -> str:
    return short_hash(problem.problem_id, problem.prompt, json.dumps(problem.reference, sort_keys=True, default=str))


def _entry(choice: BenchmarkChoice) -> BenchmarkEntry:
    entry = catalog.lookup("benchmark", catalog.benchmarks(), choice.name).in_style(choice.style)
    return entry if choice.source is None else with_source(entry, choice.source)


def _check_style(entry: BenchmarkEntry, config: BenchmarkConfig, takes_prefill: bool) -> None:
    """Raises InputError for a style whose decoding does not fit the config's strategy, or the model."""
    if entry.strategy == DEFAULT_STRATEGY:
        return
    if config.strategy.name != DEFAULT_STRATEGY:
        raise InputError(
            f"benchmarks: style {entry.style!r} of {entry.name} writes the start of the answer, and so does strategy "
            f"{config.strategy.name!r}. Fix: leave out the style or the strategy."
        )
    if not takes_prefill:
        raise InputError(
            f"benchmarks: style {entry.style!r} of {entry.name} writes the start of the answer, and an API takes whole "
            "turns only. Fix: use the default style for this model."
        )


def _setting(entry: BenchmarkEntry, config: BenchmarkConfig) -> Setting:
    sampling = config.sampling.with_defaults(entry.max_tokens, entry.repetition_penalty)
    own = StrategySpec(name=entry.strategy)
    fields = {
        "dataset": entry.name,
        "strategy": (config.strategy if entry.strategy == DEFAULT_STRATEGY else own).model_dump(),
        "sampling": sampling.model_dump(),
        "samples": config.samples,
    }
    return validated(Setting, fields, f"benchmark {entry.name}")


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
        raise InputError(
            f"{folder} has no metrics.json: its benchmarks have not ended. Fix: rerun their command to resume."
        )
    return read_record(folder, "metrics.json", BenchmarkRunMetrics, "file of benchmarks' figures", METRICS_FIX)
