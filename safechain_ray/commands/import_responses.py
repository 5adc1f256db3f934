"""Import of responses that exist already: a run like any other, whose rows were generated elsewhere.

The rows are read before anything is written (`stored_responses.py`), and again to write the samples. An interrupted
import resumes.

A row that can't be read becomes a sample with an error. Labels become the verdicts of a judge named `human`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from safechain_ray import catalog
from safechain_ray.catalog.entries import Family
from safechain_ray.catalog.row_entries import ResponsesEntry
from safechain_ray.cluster.planner import Plan
from safechain_ray.cluster.workers.writer import BlockWriter
from safechain_ray.commands.stored_responses import StoredResponses, read_responses, with_catalog
from safechain_ray.config import ImportConfig, ResourcesConfig
from safechain_ray.datasets.responses import RowResponses, StoredResponse
from safechain_ray.decoding.base import split_response
from safechain_ray.engines.api_answers import ApiAnswer
from safechain_ray.errors import InputError
from safechain_ray.judges.base import nothing_to_judge
from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.file_index import compact, repair_and_index, report_repairs
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.identity import name_of
from safechain_ray.runs.progress import RunReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import as_stored
from safechain_ray.runs.resolve_model import UNMARKED_OF_FAMILIES
from safechain_ray.runs.run_manifest import measure_and_write
from safechain_ray.runs.workload import Remaining, ShowCounts, Workload
from safechain_ray.runs.workload import run as run_workload
from safechain_ray.types import (
    IMPORTED,
    FinishReason,
    Outcome,
    Sample,
    Sampling,
    Setting,
    StrategySpec,
    Verdict,
    samples_table,
)

HUMAN = "human"
"""Name of the judge whose verdicts are labels of people."""

ROWS_A_FILE = 4096
CHARACTERS_A_FILE = 2**24
"""A file ends at either limit, so that memory does not grow with the length of the texts."""

UNKNOWN = {"sampling": "unknown"}
"""Option of the strategy of responses whose sampling was not given."""


@dataclass(frozen=True, slots=True)
class Imported:
    """Result of an import. `committed` counts the samples of this attempt."""

    folder: RunFolder
    metrics: RunMetrics
    responses: StoredResponses
    committed: int


@dataclass(frozen=True)
class ImportWorkload(Workload[Imported]):
    """Responses that exist, as the samples of a run with one setting."""

    config: ImportConfig
    responses: StoredResponses
    model: str
    family: Family
    setting: Setting

    @property
    def output(self) -> str:
        return self.config.output or f"runs/{name_of(self.model, self.identity)}"

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

    @property
    def identity(self) -> dict[str, Any]:
        """All that changes the results: the texts, and how they are read."""
        return as_stored(
            {
                "model": {"name": self.model},
                "family": self.family.model_dump(exclude=UNMARKED_OF_FAMILIES),
                "settings": [self.setting.model_dump()],
                "prompts": {self.setting.dataset: self.responses.fingerprint},
                "judges": [{"name": HUMAN, "kind": "labels"}] if self._has_labels else [],
                "parts": [self.config.label_part],
            }
        )

    @property
    def _has_labels(self) -> bool:
        return self.config.label_column is not None

    def open_record(self, folder: RunFolder) -> RunRecord:
        responses, name = self.responses, self.setting.dataset
        facts = {
            "datasets": {
                name: {
                    "source": responses.stream.source,
                    "prompts": sum(responses.categories.values()),
                    "hash": responses.fingerprint,
                }
            },
            "rows": responses.samples,
        }
        record = RunRecord.resumed(folder, self.config, self.identity, facts)
        benign = self._benign_categories
        record.note_kinds({name: PromptKinds(benign, sum(responses.categories.get(each, 0) for each in benign or ()))})
        return record

    @property
    def _benign_categories(self) -> tuple[str, ...] | None:
        """Those of the config, or of the data set of the catalog by this name; None where they are unknown."""
        known = catalog.datasets().get(self.config.dataset or "")
        if self.config.benign_categories is not None or known is None:
            return self.config.benign_categories
        return known.benign_categories

    def benign_without_rows(self) -> tuple[str, ...]:
        """Benign categories of a user's catalog entry that no row has: misspelt, or left out of these rows."""
        is_own = self.config.benign_categories is None and catalog.is_from_outside("datasets", self.setting.dataset)
        found = self.responses.categories
        return tuple(each for each in self._benign_categories or () if is_own and not found.get(each))

    def repair(self, folder: RunFolder, record: RunRecord, reporter: RunReporter) -> Remaining:
        index = repair_and_index(folder.samples, retry_errors=False, expected=self._sample_ids())
        report_repairs(index, reporter)
        completed = set(index.completed)
        return Remaining(
            self.responses.samples,
            len(completed),
            plan=lambda _: Plan(()),
            streams=lambda *_: iter(()),
            without_cluster=lambda show: self._write(folder, completed, show),
        )

    def _write(self, folder: RunFolder, completed: set[str], show: ShowCounts) -> int:
        """Write the samples that are not completed, and show the counts of each file. Returns their number.

        Files of a source that changed while it was read are deleted.
        """
        write, before = BlockWriter(folder.samples), set(folder.samples.list_files(".parquet"))
        counts = Counter[str]()
        try:
            for block in _blocks(each for each in self._samples() if each.sample_id not in completed):
                write(samples_table(block))
                counts.update(sample.outcome for sample in block)
                counts["rows"] += len(block)
                show(dict(counts))
        except InputError:
            for name in {*folder.samples.list_files(".parquet")} - before:
                folder.samples.delete(name)
            raise
        return counts["rows"]

    def _sample_ids(self) -> Iterator[str]:
        for prompt_id, responses in self.responses.responses.items():
            for index in range(responses):
                yield self.setting.sample_id(prompt_id, index)

    def _samples(self) -> Iterator[Sample]:
        indices = Counter[str]()
        for row, prompt_id, problem in self.responses.each():
            for response in row.responses:
                sample = self._sample(row, response, prompt_id, indices[prompt_id], problem or response.problem)
                indices[prompt_id] += 1
                yield replace(sample, verdicts=(self._label(sample, response),)) if self._has_labels else sample

    def _sample(
        self, row: RowResponses, response: StoredResponse, prompt_id: str, index: int, problem: str | None
    ) -> Sample:
        tags = self.family.tags
        finish: FinishReason = "length" if response.thought and not response.text.strip() else "stop"
        whole = ApiAnswer(response.thought, response.text, finish).response(tags) if problem is None else None
        parts = None if whole is None else split_response(whole, tags)
        outcome: Outcome = "error" if parts is None else "ok" if parts.closed else "truncated"
        sampling = self.setting.sampling
        return Sample(
            sample_id=self.setting.sample_id(prompt_id, index),
            setting_id=self.setting.setting_id,
            model=self.model,
            dataset=self.setting.dataset,
            prompt_id=prompt_id,
            category=row.category,
            prompt=row.prompt,
            strategy=self.setting.strategy.name,
            sample_index=index,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            seed=None,
            thought=None if parts is None else parts.thought,
            answer=None if parts is None else parts.answer,
            response=whole,
            prefill="",
            outcome=outcome,
            finish_reason=None if parts is None else "stop" if parts.closed else "length",
            error=problem,
            prompt_tokens=0,
            thought_tokens=None,
            answer_tokens=None,
            forced_rounds=0,
            seconds=0.0,
            engine=IMPORTED,
        )

    def _label(self, sample: Sample, response: StoredResponse) -> Verdict:
        """The label as a verdict. It is missing where a judge's verdict would be: without a text of that part."""
        part = self.config.label_part
        missing = nothing_to_judge(sample, part) or response.label_problem
        return Verdict(HUMAN, part, None if missing else response.unsafe, error=missing)

    def all_completed(self, total: int) -> str:
        return f"All {total} responses are imported already."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Imported:
        compact(folder.samples)
        metrics = measure_and_write(folder, record.run_manifest)
        folder.write_card()
        record.measured(metrics.settings)
        return Imported(folder, metrics, self.responses, committed)


def resolve_import(config: ImportConfig) -> ImportWorkload:
    """The workload of an import, after a first reading of the source. Raises the errors of `read_responses`."""
    config = with_catalog(config)
    _check_categories(config)
    family = _family(config)
    responses = read_responses(config)
    if family.tags is None and responses.columns.thought is not None:
        raise InputError(
            f"The column {responses.columns.thought!r} has thoughts, and models of family {family.name} write no "
            "thinking tags. Fix: name a family with tags, for example --family api."
        )
    has_responses = responses.columns.response is not None or responses.columns.messages is not None
    if not has_responses and responses.columns.label is not None and config.label_part != "thought":
        raise InputError(
            f"{responses.stream.source} has thoughts and no responses, and the labels would be about the "
            f"{config.label_part}. Fix: add --label-part thought."
        )
    strategy, sampling = config.strategy, config.sampling
    if sampling is not None and sampling.greedy and responses.most_responses > 1:
        raise InputError(
            f"{responses.stream.source} has up to {responses.most_responses} responses to a prompt, and temperature 0 "
            "would make them equal. Fix: leave out --temperature, or name the right one."
        )
    if sampling is None:
        strategy = StrategySpec(name=strategy.name, options={**strategy.options, **UNKNOWN})
    setting = Setting(
        dataset=config.dataset or responses.stream.entry.name,
        strategy=strategy,
        sampling=sampling or Sampling(temperature=1.0),
        samples=responses.most_responses,
    )
    entry = responses.stream.entry
    # The splits of a catalog set with responses of several models are named after the models.
    split = config.split if isinstance(entry, ResponsesEntry) else None
    return ImportWorkload(config, responses, config.model or split or entry.name, family, setting)


def _check_categories(config: ImportConfig) -> None:
    """Raise InputError for a catalog data set with benign prompts, which only a column of categories separates."""
    known = catalog.datasets().get(config.dataset or "")
    if known is None or known.category_column is None or config.category_column or config.benign_categories:
        return
    if not known.benign_categories:
        return
    raise InputError(
        f"Data set {known.name} has benign prompts, and no column of categories is named: all prompts would count as "
        "harmful. Fix: name the column with --category-column, or give the data set another name."
    )


def _family(config: ImportConfig) -> Family:
    """The family of the config, of a model of the catalog, or the one for unknown models, with `<think>` tags."""
    known = catalog.models().get(config.model or "") or catalog.api_models().get(config.model or "")
    if config.family is None and known is not None:
        return catalog.family_of(known)
    of_source = catalog.responses().get(config.source)
    if of_source is not None and of_source.family == config.family is not None:
        return catalog.family_of(of_source)
    return catalog.lookup("model family", catalog.families(), config.family or "api")


def import_responses(config: ImportConfig, reporter: RunReporter) -> Imported:
    """Make a run of responses that exist already. It resumes where an earlier attempt was interrupted.

    Raises the errors of `read_responses`, and RunConflictError for a folder of another run.

    Example:
        import_responses(ImportConfig(source="mine.jsonl", output="runs/mine", model="R1-7B"), reporter)
    """
    reporter.report("Reading all rows once, before the first one is written …")
    workload = resolve_import(config)
    for category in workload.benign_without_rows():
        dataset = workload.setting.dataset
        reporter.report(
            f"No row has the benign category {category!r} of {dataset} "
            f"({catalog.place_of('datasets', dataset, 'benign_categories')}). Fix: correct the category there, or "
            "name the right column with --category-column, unless these rows are a part of the set."
        )
    return run_workload(workload, reporter, _no_engine)


def _blocks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """The samples of each file."""
    block: list[Sample] = []
    characters = 0
    for sample in samples:
        block.append(sample)
        characters += len(sample.prompt) + len(sample.response or "")
        if len(block) == ROWS_A_FILE or characters >= CHARACTERS_A_FILE:
            yield block
            block, characters = [], 0
    if block:
        yield block


def _no_engine(start: object) -> Any:
    raise AssertionError("an import starts no engine")
