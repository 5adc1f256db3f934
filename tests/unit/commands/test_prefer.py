"""Two runs paired sample by sample: what can be compared, what is told, what is refused before an engine starts."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from safechain_ray.catalog import judges
from safechain_ray.cluster.workers.pair_judge import PairReader, StoredPair
from safechain_ray.commands import prefer
from safechain_ray.commands.prefer import compared_parts, pair_samples, resolve_comparison
from safechain_ray.config import PreferenceConfig, read_config_as
from safechain_ray.errors import InputError
from safechain_ray.metrics.preferences import Unanswered
from safechain_ray.runs import workload
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve_judge
from safechain_ray.storage import open_folder
from safechain_ray.types import Sampling, Setting, StrategySpec
from safechain_ray.types.tables import PAIRS_SCHEMA, PREFERENCES_SCHEMA
from tests.made_runs.by_answers import SETTING, finished_run

JUDGE = "prefer-llama-3.3-70b"
ZEROTHINK = Setting(dataset="quickstart", strategy=StrategySpec(name="zerothink"))


def config(**keys: Any) -> PreferenceConfig:
    return read_config_as(PreferenceConfig, None, {"judge": JUDGE, **keys})


def folder_of(path: Path) -> RunFolder:
    return RunFolder(open_folder(str(path)))


def refusal(a: Path, b: Path, **keys: Any) -> str:
    with pytest.raises(InputError) as refused:
        resolve_comparison(str(a), str(b), config(**keys))
    return str(refused.value)


def test_samples_are_paired_by_setting_prompt_and_index_and_the_rest_is_counted(tmp_path: Path):
    a = finished_run(tmp_path / "a", {"x1": ["1", "2"], "x2": ["3"], "y1": [None], "y2": ["4"]})
    b = finished_run(
        tmp_path / "b", {"x1": ["5"], "x2": ["6"], "y1": ["7"], "z1": ["8"], "y2": ["9"]}, prompts={"x2": "Why x2?"}
    )
    found = pair_samples(folder_of(a), folder_of(b), [(SETTING, SETTING)])
    ids = [SETTING.sample_id(prompt_id, 0) for prompt_id in ("x1", "y2")]
    assert [(pair.sample_id, pair.sample_id_b) for pair in found.answered] == [(each, each) for each in ids]
    assert found.unanswered == (Unanswered(SETTING.setting_id, "y1", "y"),)
    assert (found.only_a, found.only_b, found.other_prompt) == (1, 1, 1)


def test_prompts_that_were_left_out_of_both_runs_are_not_equal(tmp_path: Path):
    withheld = {"x1": "", "x2": ""}
    a = finished_run(tmp_path / "a", {"x1": ["1"], "x2": ["3"]}, prompts=withheld)
    b = finished_run(tmp_path / "b", {"x1": ["5"], "x2": ["6"]}, prompts=withheld)
    found = pair_samples(folder_of(a), folder_of(b), [(SETTING, SETTING)])
    assert (found.answered, found.other_prompt) == ((), 2)
    assert "A prompt that was left out when a run was pushed has no text" in refusal(a, b)


def test_a_pair_is_read_with_both_texts_and_the_columns_of_a(tmp_path: Path):
    a = finished_run(tmp_path / "a", {"x1": ["1"], "x2": ["2"], "x3": ["3"]})
    b = finished_run(tmp_path / "b", {"x3": ["6"], "x2": ["5"], "x1": ["4"]}, family="llama-instruct")
    folders = folder_of(a), folder_of(b)
    pairs = pair_samples(*folders, [(SETTING, SETTING)]).answered
    reader = PairReader(folders[0].samples, folders[1].samples, ("answer", "response"))
    read = reader(as_blocks(pairs))
    assert read.schema.equals(PAIRS_SCHEMA)
    assert [(row["prompt"], row["a"], row["b"]) for row in read.to_pylist()] == [
        ("How x1?", "1", "4"),
        ("How x2?", "2", "5"),
        ("How x3?", "3", "6"),
    ]


def as_blocks(pairs: tuple[StoredPair, ...]) -> Any:
    return pa.table({"pairs": [[{name: getattr(pair, name) for name in pair.__slots__} for pair in pairs]]})


def test_settings_that_differ_in_their_sampling_alone_are_paired_where_that_leaves_no_choice(tmp_path: Path):
    warm = Setting(dataset="quickstart", sampling=Sampling(temperature=0.6, seed=1))
    a = finished_run(tmp_path / "a", [(SETTING, {"x": ["1"]}), (ZEROTHINK, {"x": ["2"]})])
    b = finished_run(tmp_path / "b", [(warm, {"x": ["3"]})])
    comparison = resolve_comparison(str(a), str(b), config())
    assert comparison.settings.pairs == ((SETTING, warm),)
    assert comparison.settings.alone_first == (ZEROTHINK,)
    assert [pair.sample_id_b for pair in comparison.samples.answered] == [warm.sample_id("x", 0)]


def test_only_settings_of_the_strategies_asked_for_are_compared(tmp_path: Path):
    both = [(SETTING, {"x": ["1"]}), (ZEROTHINK, {"x": ["2"]})]
    a, b = finished_run(tmp_path / "a", both), finished_run(tmp_path / "b", both)
    comparison = resolve_comparison(str(a), str(b), config(strategies=["zerothink"]))
    assert comparison.settings.pairs == ((ZEROTHINK, ZEROTHINK),)
    assert len(comparison.samples.answered) == 1


@pytest.mark.parametrize(
    ("families", "asked", "compared"),
    [
        (("demo", "r1"), None, ("answer", "answer")),
        (("r1", "llama-instruct"), None, ("response", "response")),
        (("r1", "llama-instruct"), "answer", ("answer", "response")),
        (("r1", "r1"), "thought", ("thought", "thought")),
    ],
)
def test_answers_are_compared_where_both_have_them_else_responses(
    tmp_path: Path, families: tuple[str, str], asked: Any, compared: tuple[str, str]
):
    a, b = (
        RunRecord.of_finished(folder_of(finished_run(tmp_path / name, {"x": ["1"]}, family=family))).run_manifest
        for name, family in zip("ab", families, strict=True)
    )
    assert compared_parts(a, b, asked) == compared


def test_the_thought_of_a_model_without_tags_is_refused(tmp_path: Path):
    a = finished_run(tmp_path / "a", {"x": ["1"]})
    b = finished_run(tmp_path / "b", {"x": ["1"]}, family="llama-instruct")
    assert "thought can't be judged apart" in refusal(a, b, part="thought")


def test_runs_with_nothing_in_common_are_refused_with_what_each_has(tmp_path: Path):
    a = finished_run(tmp_path / "a", {"x": ["1"]})
    b = finished_run(tmp_path / "b", [(ZEROTHINK, {"x": ["1"]})])
    said = refusal(a, b)
    assert "The runs have no sample in common" in said
    assert SETTING.setting_id in said
    assert ZEROTHINK.setting_id in said
    assert "named twice" in refusal(a, a)


def test_what_is_no_finished_run_is_refused(tmp_path: Path):
    a = finished_run(tmp_path / "a", {"x": ["1"]})
    (tmp_path / "study").mkdir()
    study = {"identity": {"judges": [], "labelled": "h"}, "data": {"name": "d"}}
    (tmp_path / "study" / "run.json").write_text(json.dumps(study))
    assert "holds a judge study, preferences or benchmarks, but no run of a model" in refusal(a, tmp_path / "study")
    assert "There is no folder" in refusal(a, tmp_path / "nothing")


def test_a_judge_of_verdicts_compares_nothing_and_a_preference_judge_gives_no_verdict(tmp_path: Path):
    a, b = (finished_run(tmp_path / name, {"x": ["1"]}) for name in "ab")
    said = refusal(a, b, judge="demo-guard")
    assert "demo-guard gives verdicts on one response and compares none" in said
    assert f"name one of {JUDGE}, prefer-gpt-4o" in said
    with pytest.raises(InputError, match="compares two responses and gives no verdict on one") as refused:
        resolve_judge(config().judge)
    assert f"prefer RUN_A RUN_B --judge {JUDGE}" in str(refused.value)
    assert "name one of llama-guard-3-8b, " in str(refused.value)


def test_an_endpoints_key_has_to_be_there_and_its_cost_can_not_be_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    a, b = (finished_run(tmp_path / name, {"x": ["1"]}) for name in "ab")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    text = refusal(a, b, judge="prefer-gpt-4o")
    assert "OPENAI_API_KEY is not set" in text
    assert text.endswith("or name another one with --set judge.endpoint.api_key_env=NAME.")
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    keys = {"judge": "prefer-gpt-4o", "resources.max_cost": 1.0}
    assert "set resources.max_requests instead" in refusal(a, b, **keys)


def test_another_judge_part_run_or_strategy_is_another_contest_and_other_resources_are_not(tmp_path: Path):
    a, b, other = (finished_run(tmp_path / name, {"x": [name]}, model=name) for name in ("a", "b", "other"))

    def identity(first: Path = a, second: Path = b, **keys: Any) -> str:
        return json.dumps(resolve_comparison(str(first), str(second), config(**keys)).identity())

    same = identity()
    changed = [
        identity(second=other),
        identity(first=b, second=a),
        identity(part="response"),
        identity(strategies=["default"]),
        identity(judge={"name": JUDGE, "engine": {"context_length": 4096}}),
    ]
    assert len({same, *changed}) == 6
    assert identity(output="elsewhere", **{"resources.block_rows": 4}) == same


def test_the_catalogs_preference_judges_run_a_model_or_ask_a_server():
    found = [judge for judge in judges().values() if judge.kind == "preference"]
    assert [judge.name for judge in found] == [JUDGE, "prefer-gpt-4o"]
    assert [(judge.engine is None, judge.endpoint is None) for judge in found] == [(False, True), (True, False)]


def test_preferences_on_samples_of_another_run_are_moved_aside_and_count_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    a, b = (finished_run(tmp_path / name, {"x1": ["1"], "x2": ["2"]}) for name in "ab")
    own, stranger = SETTING.sample_id("x1", 0), SETTING.sample_id("z9", 0)
    said = dict.fromkeys(PREFERENCES_SCHEMA.names, "x") | {
        **{"setting_id": SETTING.setting_id, "setting_id_b": SETTING.setting_id, "sample_index": 0, "score": 1.0},
        **{"outcome": "win", "judge": JUDGE, "error": None},
    }
    rows = [said | {"sample_id": each, "sample_id_b": each} for each in (own, stranger)]
    target = open_folder(str(tmp_path / "out")) / "preferences"
    target.write_parquet("copied.parquet", pa.Table.from_pylist(rows, schema=PREFERENCES_SCHEMA))
    asked: list[tuple[int, int]] = []

    def run_attempt(*arguments: object, completed: int, total: int, **more: object) -> int:
        asked.append((completed, total))
        return 0

    monkeypatch.setattr(workload, "run_attempt", run_attempt)
    reporter = RecordingReporter()
    done = prefer.prefer(str(a), str(b), config(output=str(tmp_path / "out")), reporter, pytest.fail)
    assert asked == [(1, 2)]
    assert (done.preferences.settings[0].pairs, done.preferences.settings[0].missing) == (1, 0)
    assert (target / "_broken").list_files() == ["copied.parquet"]
    assert "copied.parquet held 1 rows of samples that this run does not have" in reporter.sentences[0]
