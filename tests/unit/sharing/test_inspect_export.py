"""`export --format inspect`: logs that Inspect reads back with every row, verdict, text and figure of the run."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from safechain_ray.errors import InputError
from safechain_ray.library import load_run
from safechain_ray.metrics.safety import PROMPT_VALUES
from safechain_ray.metrics.summary import SettingMetrics
from safechain_ray.runs.folder import RunFolder
from safechain_ray.sharing.push import read_publication, write_to_folder
from safechain_ray.sharing.run import read_shared_run
from safechain_ray.sharing.spool import Spool, plan_parts
from safechain_ray.storage import open_folder
from safechain_ray.types import Sample, Setting, StrategySpec, samples_from_table
from tests.made_runs import by_samples
from tests.unit.sharing.runs import quickstart_run, run_with_later_judge, varied_run

pytestmark = pytest.mark.slow  # Inspect takes seconds to import

inspect_log = pytest.importorskip("inspect_ai.log", reason="the extra `inspect` is not installed")

METRICS = ("safe_at_1", "cons_safe_at_k", "safe_at_k")


def export(run: Path, folder: Path, samples_per_log: int = 10_000) -> Any:
    from safechain_ray.sharing.export import export_inspect

    return export_inspect(read_shared_run(str(run)), str(folder), samples_per_log, lambda name: None)


def logs_of(folder: Path) -> list[Any]:
    return [inspect_log.read_eval_log(str(path)) for path in sorted(folder.glob("*.eval"))]


def samples_of(run: Path) -> list[Sample]:
    return samples_from_table(load_run(run).samples.to_arrow())


def by_setting(run: Path, logs: Sequence[Any]) -> list[tuple[SettingMetrics, Any]]:
    """Each setting of the run with its log."""
    found = {log.eval.metadata["setting_id"]: log for log in logs}
    return [(setting, found[setting.setting_id]) for setting in load_run(run).metrics.settings]


def test_a_copy_without_samples_is_not_exported(tmp_path: Path) -> None:
    write_to_folder(
        read_publication(str(quickstart_run(tmp_path / "run")), "figures", False),
        str(tmp_path / "copy"),
        None,
        lambda name: None,
    )
    with pytest.raises(InputError, match=r"has no samples: .* Fix: name the original run\."):
        export(tmp_path / "copy", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("make", [quickstart_run, varied_run, run_with_later_judge])
def test_every_sample_verdict_and_text_of_the_run_is_in_its_log(make: Any, tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    exported = export(run, tmp_path / "logs")
    logs = logs_of(tmp_path / "logs")
    written = {sample.uuid: sample for log in logs for sample in log.samples}
    own = samples_of(run)
    assert sum(exported.logs.values()) == len(written) == len(own)
    verdicts: dict[str, dict[str, Any]] = {}
    for row in load_run(run).verdicts.to_arrow().to_pylist():
        verdicts.setdefault(row["sample_id"], {})[f"{row['judge']}:{row['part']}"] = row
    for sample in own:
        found = written[sample.sample_id]
        assert (found.id, found.epoch, found.input) == (sample.prompt_id, sample.sample_index + 1, sample.prompt)
        assert found.metadata["category"] == sample.category
        _check_output(found, sample)
        scores = found.scores or {}
        assert scores.keys() == verdicts.get(sample.sample_id, {}).keys()
        for name, verdict in verdicts.get(sample.sample_id, {}).items():
            _check_score(scores[name], verdict)


def _check_output(found: Any, sample: Sample) -> None:
    if sample.outcome == "error":
        assert found.error.message == (sample.error or "no reason recorded")
        assert found.output.choices == []
        return
    assert found.error is None
    reasons = {"ok": "stop", "truncated": "max_tokens", "blocked": "content_filter"}
    assert found.output.stop_reason == reasons[sample.outcome]
    content = found.messages[-1].content
    if sample.thought is None:
        assert content == (sample.answer or sample.response or "")
    else:
        assert [(part.type, part.reasoning if part.type == "reasoning" else part.text) for part in content] == [
            ("reasoning", sample.thought),
            ("text", sample.answer),
        ]
    usage = found.output.usage
    assert (usage.input_tokens, usage.reasoning_tokens) == (sample.prompt_tokens, sample.thought_tokens)
    assert usage.output_tokens == (sample.thought_tokens or 0) + (sample.answer_tokens or 0)


def _check_score(score: Any, verdict: dict[str, Any]) -> None:
    if verdict["unsafe"] is None:
        assert math.isnan(score.value)
        assert (score.reason, score.explanation) == ("grader_failed", verdict["error"])
        return
    if verdict["judge"] == "refusal-match":
        word = "no refusal" if verdict["unsafe"] else "refusal"
        assert (score.value, score.answer) == ("I" if verdict["unsafe"] else "C", word)
        return
    word = "unsafe" if verdict["unsafe"] else "safe"
    assert (score.value, score.answer) == ("I" if verdict["unsafe"] else "C", word)
    assert score.explanation.startswith(f"{verdict['judge']}: the {verdict['part']} is {word}.")
    assert score.metadata.get("unsafe_score") == verdict["score"]
    assert score.metadata["categories"] == list(verdict["categories"])


@pytest.mark.parametrize("make", [quickstart_run, varied_run, run_with_later_judge])
def test_the_figures_of_a_log_are_those_of_the_run(make: Any, tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    export(run, tmp_path / "logs")
    logs = logs_of(tmp_path / "logs")
    for setting, log in by_setting(run, logs):
        assert log.status == "success"
        assert (log.results.total_samples, log.results.completed_samples) == (
            setting.rows,
            setting.rows - setting.outcomes["error"],
        )
        scores = {
            (score.name, metric): (score, score.metrics[metric])
            for score in log.results.scores
            for metric in score.metrics
        }
        for judge in setting.judges:
            for name in METRICS if setting.samples > 1 else METRICS[:1]:
                figure = getattr(judge, name)
                if figure.value is None:
                    continue
                score, metric = scores[f"{judge.judge}:{judge.part}", name]
                assert metric.value == figure.value
                assert metric.metadata == figure.model_dump(exclude={"value"})
                assert (score.scored_samples, score.unscored_samples) == (figure.n, judge.prompts - figure.n)
        usage = log.stats.model_usage[log.eval.model]
        assert usage.input_tokens == (setting.tokens.prompt or 0)
        assert usage.reasoning_tokens == setting.tokens.thought
        if setting.over_refusal is not None:
            assert scores["over-refusal", "over_refusal"][1].value == setting.over_refusal.refused.value


def test_standard_errors_are_over_prompts(tmp_path: Path) -> None:
    run = varied_run(tmp_path / "run")
    export(run, tmp_path / "logs")
    for setting, log in by_setting(run, logs_of(tmp_path / "logs")):
        counts: dict[str, list[int]] = {}
        for sample in (each for each in samples_of(run) if each.setting_id == setting.setting_id):
            tally = counts.setdefault(sample.prompt_id, [0, 0])
            for verdict in sample.verdicts:
                if (verdict.judge, verdict.part) == ("guard", "response") and verdict.unsafe is not None:
                    tally[verdict.unsafe] += 1
        values = [PROMPT_VALUES["safe_at_1"](safe, unsafe, setting.samples) for safe, unsafe in counts.values()]
        known = [float(value) for value in values if value is not None]
        mean = sum(known) / len(known)
        expected = math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1) / len(known))
        (score,) = (
            each for each in log.results.scores if each.name == "guard:response" and "safe_at_1" in each.metrics
        )
        assert score.metrics["stderr"].value == pytest.approx(expected)


def test_inspects_own_reducers_give_the_same_figures_where_all_verdicts_are_there(tmp_path: Path) -> None:
    from inspect_ai.scorer import at_least, mean_score, pass_k

    run = quickstart_run(tmp_path / "run")
    export(run, tmp_path / "logs")
    ((setting, log),) = by_setting(run, logs_of(tmp_path / "logs"))
    assert log.eval.config.epochs_reducer == ["mean", "at_least_2", "pass_k_3"]
    judge = setting.judges[0]
    name = f"{judge.judge}:{judge.part}"
    scores: dict[str, list[Any]] = {}
    for sample in log.samples:
        if sample.metadata["kind"] == "harmful":
            scores.setdefault(sample.id, []).append(sample.scores[name])
    for metric, reducer in zip(METRICS, (mean_score(), at_least(2), pass_k(3)), strict=True):
        values = [reducer(of_prompt).as_float() for of_prompt in scores.values()]
        assert sum(values) / len(values) == pytest.approx(getattr(judge, metric).value)


def test_the_header_names_task_model_data_set_config_and_versions(tmp_path: Path) -> None:
    run = varied_run(tmp_path / "run")
    export(run, tmp_path / "logs")
    ((_, log), (_, zero)) = by_setting(run, logs_of(tmp_path / "logs"))
    assert (log.eval.task, zero.eval.task) == ("small default", "small zerothink")
    assert (log.eval.model, log.eval.solver, zero.eval.solver) == ("tiny", "default", "zerothink")
    assert log.eval.model_args == {"source": "org/tiny", "revision": "0123456789abcdef", "dtype": "bfloat16"}
    assert (log.eval.dataset.name, log.eval.dataset.samples, log.eval.dataset.location) == ("small", 30, "small.csv")
    assert (log.eval.config.epochs, zero.eval.config.epochs, zero.eval.config.epochs_reducer) == (3, 1, None)
    assert (log.eval.model_generate_config.temperature, log.eval.model_generate_config.top_p) == (0.6, 0.95)
    assert log.eval.packages == {"safechain_ray": "0.1.0", "python": "3.11.7", "vllm": "0.32.0"}
    assert log.eval.run_id == zero.eval.run_id
    assert log.eval.task_id != zero.eval.task_id
    assert (log.results.headline.scorer, log.results.headline.metric) == ("guard:response", "safe_at_1")
    assert str(log.stats.started_at).startswith("2026-11-21T10:00:00")
    assert set(log.eval.metadata["judges"]) == {"guard", "match"}


def test_a_large_setting_is_split_by_prompts_with_its_own_figures(tmp_path: Path) -> None:
    run = quickstart_run(tmp_path / "run")
    exported = export(run, tmp_path / "logs", samples_per_log=50)
    logs = logs_of(tmp_path / "logs")
    assert [len(log.samples) for log in logs] == [48, 48, 48, 36]
    assert list(exported.logs.values()) == [48, 48, 48, 36]
    assert len(exported.split) == 1
    ids = [sample.id for log in logs for sample in log.samples]
    assert len(set(ids)) == 60
    assert all(
        sum(each.id == prompt for each in log.samples) == 3 for log in logs for prompt in log.eval.dataset.sample_ids
    )
    assert [log.eval.metadata["part"] for log in logs] == [1, 2, 3, 4]
    prompts = sum(log.results.scores[0].scored_samples for log in logs)
    assert prompts == load_run(run).metrics.settings[0].judges[0].prompts


def test_a_second_export_replaces_the_logs_of_the_run_and_leaves_others(tmp_path: Path) -> None:
    run = quickstart_run(tmp_path / "run")
    export(run, tmp_path / "logs", samples_per_log=50)
    export(varied_run(tmp_path / "other"), tmp_path / "logs")
    (tmp_path / "logs" / "notes.eval").write_bytes(b"of someone")
    export(run, tmp_path / "logs")
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert len(names) == 4
    assert not any("-of-" in name for name in names)
    assert (tmp_path / "logs" / "notes.eval").read_bytes() == b"of someone"


def test_an_unfinished_run_is_exported_as_cancelled(tmp_path: Path) -> None:
    export(run_with_later_judge(tmp_path / "run", finished=False), tmp_path / "logs")
    (log,) = logs_of(tmp_path / "logs")
    assert log.status == "cancelled"
    assert log.eval.metadata["missing"]


def test_logs_of_a_folder_are_listed_by_task(tmp_path: Path) -> None:
    export(varied_run(tmp_path / "run"), tmp_path / "logs")
    listed = inspect_log.list_eval_logs(str(tmp_path / "logs"))
    assert sorted(each.task for each in listed) == ["small-default", "small-zerothink"]


def test_long_options_of_a_strategy_are_cut_in_the_names_of_logs_which_stay_distinct(tmp_path: Path) -> None:
    settings = [
        Setting(dataset="small", strategy=StrategySpec(name="morethink", options={"text": "é" * 400 + last}))
        for last in ("a", "b")
    ]
    samples = by_samples.varied(settings, 3)
    by_samples.write_run(tmp_path / "run", settings, samples)
    exported = export(tmp_path / "run", tmp_path / "logs")
    assert len(exported.logs) == len(logs_of(tmp_path / "logs")) == 2
    assert all(len(name.encode()) < 200 for name in exported.logs)


def test_rows_are_sorted_into_logs_without_loss(tmp_path: Path) -> None:
    run = read_shared_run(str(varied_run(tmp_path / "run")))
    parts = plan_parts(run, 20)
    spool = Spool(tmp_path, parts)
    spool.fill(run)
    tables = [spool.samples(number) for number in range(len(parts))]
    assert all(table.num_rows <= 20 for table in tables)
    ids = pa.concat_tables(tables)["sample_id"].to_pylist()
    own = RunFolder(open_folder(str(tmp_path / "run"))).counted_samples(["sample_id"])
    assert sorted(ids) == sorted(each for table in own for each in table["sample_id"].to_pylist())
    with pytest.raises(InputError, match=r"at most 200 can be written at a time\. Fix: give a larger --samples-per"):
        plan_parts(read_shared_run(str(varied_run(tmp_path / "many", prompts=300))), 1)
