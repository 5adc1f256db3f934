"""Verdicts with refusals: files of earlier versions beside new ones in one run, and over-refusal by a guard."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from safechain_ray.commands.compare import compare_runs
from safechain_ray.commands.fine_grained import analyse
from safechain_ray.config import JudgeConfig
from safechain_ray.metrics.safety import GUARD_REFUSALS, REFUSAL_RULE
from safechain_ray.report.tables import safety_table
from safechain_ray.runs.failed_verdicts import requeue
from safechain_ray.runs.file_index import compact, repair_and_index, repair_verdicts
from safechain_ray.runs.folder import RunFolder, read_verdicts
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve_judge
from safechain_ray.runs.run_manifest import RunManifest, measure
from safechain_ray.types import SAMPLES_SCHEMA, VERDICTS_SCHEMA, Sample, as_samples, samples_from_table, samples_table
from safechain_ray.types.tables import ADDED_COLUMNS, VERDICT_TYPE, verdicts_table
from tests.made_runs.by_config import finished_run

GUARD = "qwen3guard-gen-4b"
EARLIER_VERDICT = pa.struct([field for field in VERDICT_TYPE if field.name not in ADDED_COLUMNS])


def as_earlier(samples: pa.Table) -> pa.Table:
    """The table as versions without refusals wrote it."""
    place = samples.schema.get_field_index("verdicts")
    rows = [
        [{name: value for name, value in verdict.items() if name not in ADDED_COLUMNS} for verdict in verdicts]
        for verdicts in samples["verdicts"].to_pylist()
    ]
    kind = pa.list_(EARLIER_VERDICT)
    return samples.set_column(place, pa.field("verdicts", kind, nullable=False), pa.array(rows, kind))


def rewritten(run: RunFolder, change: Callable[[Sample], Sample]) -> None:
    for name in run.samples.list_files(".parquet"):
        rows = [change(sample) for sample in samples_from_table(run.samples.read_parquet(name))]
        run.samples.write_parquet(name, samples_table(rows))


def manifest(run: RunFolder) -> RunManifest:
    content = run.read_run()
    assert content is not None
    return RunManifest.of(content)


@pytest.fixture
def mixed(tmp_path: Path) -> RunFolder:
    """A run with several files. An earlier version wrote the first one."""
    run = finished_run(tmp_path / "run")
    first, *rest = run.samples.list_files(".parquet")
    assert rest
    run.samples.write_parquet(first, as_earlier(run.samples.read_parquet(first)))
    return run


def test_a_file_of_an_earlier_version_reads_as_verdicts_that_say_nothing_of_refusals(mixed: RunFolder):
    first, *_ = mixed.samples.list_files(".parquet")
    stored = mixed.samples.read_parquet(first)
    assert not stored.schema.equals(SAMPLES_SCHEMA)
    verdicts = [verdict for sample in samples_from_table(as_samples(stored)) for verdict in sample.verdicts]
    assert {(verdict.refusal, verdict.harmful_request) for verdict in verdicts} == {(None, None)}


def test_old_and_new_files_of_one_run_have_the_figures_of_new_files_alone(mixed: RunFolder, tmp_path: Path):
    alone = finished_run(tmp_path / "alone")
    assert measure(mixed, manifest(mixed)) == measure(alone, manifest(alone))
    assert analyse(str(mixed.folder)).settings == analyse(str(alone.folder)).settings
    comparison = compare_runs([str(mixed.folder), str(alone.folder)])
    assert {each.value for pair in comparison.pairs for each in pair.judges[0].differences} == {0.0}


def test_old_and_new_files_are_indexed_compacted_and_rewritten(mixed: RunFolder):
    before = repair_and_index(mixed.samples, retry_errors=False)
    compact(mixed.samples)
    (name,) = mixed.samples.list_files(".parquet")
    table = as_samples(mixed.samples.read_parquet(name))
    assert table.schema.equals(SAMPLES_SCHEMA)
    assert set(table["sample_id"].to_pylist()) == set(before.completed)


def test_failed_verdicts_of_an_old_file_are_requested_again(tmp_path: Path):
    run = finished_run(tmp_path / "run", judges=["demo-guard", "refusal-match"], parts=["response"])
    first, *_ = run.samples.list_files(".parquet")
    rows = samples_from_table(run.samples.read_parquet(first))
    guard, *others = rows[0].verdicts
    rows[0] = replace(rows[0], verdicts=(replace(guard, unsafe=None, error="HTTP 500"), *others))
    run.samples.write_parquet(first, as_earlier(samples_table(rows)))
    assert requeue(run, ["demo-guard"]) == {rows[0].sample_id}
    assert len(repair_and_index(run.samples, retry_errors=False).completed) == 3 * 60 - 1


def test_added_verdicts_of_an_earlier_version_are_read_and_repaired_beside_new_ones(tmp_path: Path):
    run = finished_run(tmp_path / "run", parts=["response"])
    tables = [verdicts_table(as_samples(run.samples.read_parquet(name))) for name in run.samples.list_files(".parquet")]
    folder = run.verdicts("refusal-match")
    folder.write_parquet("old.parquet", tables[0].drop_columns(list(ADDED_COLUMNS)))
    folder.write_parquet("new.parquet", tables[1])
    repair_verdicts(run, tables[0]["sample_id"].to_pylist() + tables[1]["sample_id"].to_pylist(), RecordingReporter())
    names = folder.list_files(".parquet")
    read = [read_verdicts(folder, name) for name in names]
    assert all(table.schema.equals(VERDICTS_SCHEMA) for table in read)
    assert sum(table.num_rows for table in read) == tables[0].num_rows + tables[1].num_rows


def guarded(folder: Path, refuses: Callable[[Sample], bool | None], **keys: Any) -> RunFolder:
    """A run of the guard and refusal-match, where `refuses` is what the guard says, and the phrases find all."""
    run = finished_run(folder, **{"judges": [GUARD, "refusal-match"], "parts": ["response"]} | keys)
    rewritten(
        run,
        lambda sample: replace(
            sample,
            verdicts=tuple(
                replace(verdict, refusal=refuses(sample)) if verdict.judge == GUARD else replace(verdict, unsafe=False)
                for verdict in sample.verdicts
            ),
        ),
    )
    return run


def first_of_three(sample: Sample) -> bool:
    return sample.sample_index == 0


def test_over_refusal_rests_on_a_guard_that_says_it_and_the_legend_names_it(tmp_path: Path):
    run = guarded(tmp_path / "run", first_of_three)
    metrics = measure(run, manifest(run))
    (setting,) = metrics.settings
    assert setting.over_refusal is not None
    assert (setting.over_refusal.judge, setting.over_refusal.prompts) == (f"{GUARD_REFUSALS}{GUARD}", 20)
    assert setting.over_refusal.refused.value == pytest.approx(1 / 3)
    assert [judge.judge for judge in setting.judges] == [GUARD, "refusal-match"]
    assert f"refusals according to the guard {GUARD}" in safety_table(metrics).caption


def test_a_response_of_which_the_guard_says_nothing_is_missing(tmp_path: Path):
    run = guarded(tmp_path / "run", lambda sample: None if sample.sample_index == 1 else sample.sample_index == 0)
    (setting,) = measure(run, manifest(run)).settings
    assert setting.over_refusal is not None
    assert (setting.over_refusal.missing, setting.over_refusal.refused.value) == (20, pytest.approx(1 / 2))
    assert setting.judges[0].all_missing == 0


def test_the_analysis_has_the_guards_refusals_too(tmp_path: Path):
    run = guarded(tmp_path / "run", first_of_three)
    (setting,) = analyse(str(run.folder)).settings
    found = {each.judge: each.benign.value for each in setting.over_refusal}
    assert found == {"refusal-match": 1.0, f"{GUARD_REFUSALS}{GUARD}": pytest.approx(1 / 3)}


def test_a_guard_that_is_added_later_finds_the_refusals_from_then_on(tmp_path: Path):
    run = finished_run(tmp_path / "run", judges=["demo-guard"], parts=["response"])
    assert manifest(run).refusals == (REFUSAL_RULE, "response")
    guard = resolve_judge(JudgeConfig(name=GUARD))
    record = RunRecord.of_finished(run)
    record.start_judging([guard], ["response"])
    for name in run.samples.list_files(".parquet"):
        rows = samples_from_table(as_samples(run.samples.read_parquet(name)))
        judged = [
            replace(row, verdicts=(replace(row.verdicts[0], judge=GUARD, refusal=first_of_three(row)),)) for row in rows
        ]
        run.verdicts(GUARD).write_parquet(name, verdicts_table(samples_table(judged)))
    record.judge_added(guard, ["response"])
    assert manifest(run).refusals == (f"{GUARD_REFUSALS}{GUARD}", "response")
    (setting,) = measure(run, manifest(run)).settings
    assert setting.over_refusal is not None
    assert setting.over_refusal.refused.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ({"judges": [GUARD, "refusal-match"], "parts": ["thought", "answer"]}, REFUSAL_RULE),
        ({"judges": ["granite-guardian-4.1-8b"]}, REFUSAL_RULE),
        ({"judges": ["refusal-match", "granite-guardian-4.1-8b"]}, "refusal-match"),
        ({"judges": ["refusal-match", "wildguard"]}, f"{GUARD_REFUSALS}wildguard"),
    ],
)
def test_only_a_guard_of_whole_responses_that_says_refusals_replaces_the_phrases(tmp_path: Path, keys, source: str):
    assert manifest(finished_run(tmp_path / "run", **keys)).refusals == (source, "response")
