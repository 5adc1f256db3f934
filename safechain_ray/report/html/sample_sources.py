"""The samples that a page shows, by kind of run: verdicts of a safety run, grades of a benchmark, a study's labels."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from safechain_ray.commands.benchmark_references import read_references
from safechain_ray.commands.judge_study import STUDY_SETTING, read_labels
from safechain_ray.errors import StorageError, StoreUnavailableError
from safechain_ray.metrics.agreement import JudgeStudy
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.benchmark_tables import benchmark_name
from safechain_ray.report.document import printable
from safechain_ray.report.html.samples import (
    MISSING,
    ROWS_AT_ONCE,
    Decision,
    PackedSamples,
    Rater,
    SampleSource,
    TextDraw,
    draw_texts,
    pack,
)
from safechain_ray.report.labels import common_sampling, setting_label
from safechain_ray.runs.folder import RunFolder

COLUMNS = (
    *("sample_id", "setting_id", "dataset", "prompt_id", "category", "prompt", "sample_index", "seed", "thought"),
    *("answer", "response", "prefill", "outcome", "finish_reason", "error", "prompt_tokens", "thought_tokens"),
    *("answer_tokens", "forced_rounds", "seconds", "verdicts"),
)

GRADE: Rater = ("grade", None)

LABEL = "label (human)"
"""No name of a judge has brackets."""


def pack_samples(folder: RunFolder, metrics: RunMetrics, with_text: int | None = None) -> PackedSamples:
    """The samples of a safety run, with the texts of at most `with_text` of them."""
    rows = sum(setting.rows for setting in metrics.settings)
    common = common_sampling(metrics.settings)
    draw = draw_texts(folder, rows, with_text)
    raters = list(dict.fromkeys((j.judge, j.part) for setting in metrics.settings for j in setting.judges))
    added = _added_verdicts(folder, {judge for judge, _ in raters}, draw)

    def decisions(row: Mapping[str, Any]) -> Mapping[Rater, Decision]:
        later = ((rater, each.get(row["sample_id"])) for rater, each in added.items())
        return _verdicts(row) | {rater: decision for rater, decision in later if decision is not None}

    source = SampleSource(
        folder,
        {setting.setting_id: setting_label(setting, common) for setting in metrics.settings},
        raters,
        folder.counted_samples(COLUMNS),
        decisions,
    )
    return pack(source, draw)


def pack_graded(folder: RunFolder, metrics: BenchmarkRunMetrics, with_text: int | None = None) -> PackedSamples:
    """The samples of a benchmark run, with their grades and, where the run has them, reference answers."""
    common = common_sampling(metrics.benchmarks)
    caveats: tuple[str, ...] = ()
    try:
        references = read_references(folder)
    except StoreUnavailableError:
        raise
    except StorageError as error:
        references = {}
        caveats = (f"No reference answers are shown: {error}",)
    source = SampleSource(
        folder,
        {figures.setting_id: benchmark_name(figures, common) for figures in metrics.benchmarks},
        (GRADE,),
        folder.counted_samples((*COLUMNS, "grade")),
        lambda row: {GRADE: _grade(row["grade"])},
        lambda row: (row["grade"]["extracted"], references.get((row["dataset"], row["prompt_id"]))),
        kind="grade",
        is_blurred=False,
    )
    draw = draw_texts(folder, sum(figures.rows for figures in metrics.benchmarks), with_text)
    return replace(pack(source, draw), caveats=caveats)


def pack_study(folder: RunFolder, study: JudgeStudy, with_text: int | None = None) -> PackedSamples:
    """The labelled responses of a judge study in their order: the label, then what judges and votes decided."""
    labels = read_labels(folder, study)
    label: Rater = (LABEL, study.part)
    votes = [rater.name for rater in study.raters if rater.is_vote]

    def decisions(row: Mapping[str, Any]) -> Mapping[Rater, Decision]:
        verdicts = _verdicts(row)
        found = labels.get(row["prompt_id"])
        if found is None:  # every judge agrees with the label, and so does every vote
            agreed = next((Decision(each.letter) for each in verdicts.values()), MISSING)
            return verdicts | {label: agreed} | {(name, study.part): agreed for name in votes}
        decided = {(name, study.part): Decision(_letter(found.votes.get(name))) for name in votes}
        return verdicts | {label: Decision(_letter(found.unsafe))} | decided

    source = SampleSource(
        folder,
        {STUDY_SETTING: printable(study.data)},
        (label, *((rater.name, study.part) for rater in study.raters)),
        folder.counted_samples(COLUMNS),
        decisions,
        facts=(),
        label=0,
    )
    return pack(source, draw_texts(folder, study.rows, with_text))


def _added_verdicts(folder: RunFolder, judges: set[str], draw: TextDraw) -> dict[Rater, dict[str, Decision]]:
    """Verdicts that were added after the run, by sample.

    Only the details of verdicts whose samples may have texts are kept: there may be a million others.
    """
    added: defaultdict[Rater, dict[str, Decision]] = defaultdict(dict)
    for table in folder.added_verdicts(judges):
        for batch in table.to_batches(ROWS_AT_ONCE):
            for row in batch.to_pylist():
                is_whole = draw.has(row["sample_id"])
                decision = _verdict(row) if is_whole else _WITHOUT_DETAILS[row["unsafe"]]
                added[row["judge"], row["part"]][row["sample_id"]] = decision
    return added


def _verdicts(row: Mapping[str, Any]) -> dict[Rater, Decision]:
    return {(verdict["judge"], verdict["part"]): _verdict(verdict) for verdict in row["verdicts"]}


def _verdict(verdict: Mapping[str, Any]) -> Decision:
    """A file of an earlier version has no note."""
    found = (verdict["score"], verdict["categories"], verdict["error"], verdict.get("note"))
    return Decision(_letter(verdict["unsafe"]), *found)


def _letter(unsafe: bool | None) -> str:
    return "m" if unsafe is None else "u" if unsafe else "s"


_WITHOUT_DETAILS: Mapping[bool | None, Decision] = {unsafe: Decision(_letter(unsafe)) for unsafe in (True, False, None)}


def _grade(grade: Mapping[str, Any]) -> Decision:
    letter = "m" if grade["correct"] is None else "c" if grade["correct"] else "w"
    return Decision(letter, error=grade["error"], note=grade["grader"])
