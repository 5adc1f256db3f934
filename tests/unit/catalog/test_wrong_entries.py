"""Wrong entries of a user's catalog: what is refused with file and line, and what still works beside them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from safechain_ray import catalog
from safechain_ray.benchmarks.base import load_problems
from safechain_ray.cli import app
from safechain_ray.commands.doctor.examine import examine
from safechain_ray.commands.finetune.resolve import resolve_base_model
from safechain_ray.commands.import_responses import resolve_import
from safechain_ray.config import DatasetConfig, ImportConfig, JudgeConfig, ModelConfig, RunConfig
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.datasets.training_sets import load_training_set, tags_of
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.runs.resolve import dataset_entry, resolve, resolve_judge
from tests.unit.conftest import Use

MODELS = """models:
  mine:
    source: a/b
    parameters: 7
    context_length: 4096
    family: demoo
api_models:
  far: {base_url: 'http://localhost:1/v1', api_model: m, family: demoo}
training_sets:
  demos: {kind: file, source: ./rows.jsonl, family: demoo}
responses:
  said: {kind: file, source: ./rows.jsonl, family: demoo}
"""


def config(model: str, **keys: str) -> RunConfig:
    return RunConfig.model_validate(
        {"model": {"name": model, **keys}, "datasets": ["quickstart"], "judges": ["refusal-match"]}
    )


def test_a_wrong_family_is_refused_with_the_entry_and_its_line(use: Use) -> None:
    folder = use(more_yaml=MODELS, rows_jsonl='{"prompt": "p", "response": "r"}\n')
    mine = f"Unknown model family of mine ({folder}/more.yaml, line 6) 'demoo'. Did you mean 'demo'?"
    far = f"Unknown model family of far ({folder}/more.yaml, line 8) 'demoo'"
    for call, words in [
        (lambda: resolve(config("mine")), mine),
        (lambda: resolve(config("far")), far),
        (lambda: resolve_base_model(ModelConfig(name="mine")), mine),
        (lambda: examine(ModelConfig(name="mine"), (), weights=None, output=None, gpu_memory=80, max_tokens=9), mine),
        (lambda: examine(ModelConfig(name="far"), (), weights=None, output=None, gpu_memory=80, max_tokens=9), far),
        (lambda: tags_of(catalog.training_sets()["demos"]), f"of demos ({folder}/more.yaml, line 10) 'demoo'"),
        (lambda: resolve_import(ImportConfig(source="said")), f"of said ({folder}/more.yaml, line 12) 'demoo'"),
        (lambda: resolve_import(ImportConfig(source="said", family="demoo")), "Unknown model family"),
    ]:
        with pytest.raises(UnknownNameError) as refused:
            call()
        assert words in str(refused.value)


def test_a_family_of_the_config_is_not_blamed_on_the_entry(use: Use) -> None:
    use(more_yaml=MODELS)
    with pytest.raises(InputError, match="Unknown model family 'nobody'"):
        resolve(
            RunConfig.model_validate({**config("mine").model_dump(), "model": {"name": "mine", "family": "nobody"}})
        )


def test_other_models_are_listed_and_run_beside_one_of_a_wrong_family(use: Use) -> None:
    use(more_yaml=MODELS)
    listed = CliRunner().invoke(app, ["list", "models", "--json"])
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert (rows["mine"]["family"], rows["R1-7B"]["family"]) == ("demoo (unknown)", "r1")
    assert resolve(config("demo-reasoner")).family.name == "demo"


def test_a_catalog_file_without_entries_is_named(use: Use) -> None:
    folder = use(judges_yaml="judges:\n")
    shown = " ".join(CliRunner().invoke(app, ["list", "--source"]).stdout.split())
    assert "all entries are built-in. Fix: add entries below a section" in shown
    assert f"{folder}/judges.yaml" in shown.replace(" ", "")


def test_a_model_that_fits_no_gpu_hides_no_other_one_in_the_list(use: Use) -> None:
    use(more_yaml="models:\n  huge: {source: a/b, family: r1, parameters: 100000, context_length: 4096}\n")
    listed = CliRunner().invoke(app, ["list", "models", "--json"])
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert (rows["huge"]["GPUs of 80 GB"], rows["R1-7B"]["GPUs of 80 GB"]) == (None, 1)
    assert CliRunner().invoke(app, ["list", "models"]).exit_code == 0


ROWS = """datasets:
  mine:
    description: requests
    licence: internal
    kind: file
    source: ./rows.jsonl
    prompt_column: question
    rows: 2
"""
ONE = '{"prompt": "p", "response": "r"}\n'


def refusal_of(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as refused:
        call()
    return str(refused.value)


def test_a_wrong_column_of_an_entry_is_corrected_in_the_entry_and_one_of_a_flag_by_the_flag(use: Use) -> None:
    folder = use(datasets_yaml=ROWS, rows_jsonl=ONE)
    in_entry = refusal_of(lambda: load_prompts(catalog.datasets()["mine"]))
    assert in_entry.endswith(f"Fix: correct prompt_column of mine ({folder}/datasets.yaml, line 7).")
    of_flag = dataset_entry(DatasetConfig(name="mine", prompt_column="text"))
    assert "Fix: name the right one with --prompt-column" in refusal_of(lambda: load_prompts(of_flag))


def test_a_wrong_number_of_rows_may_be_an_error_of_the_entry(use: Use) -> None:
    folder = use(datasets_yaml=ROWS.replace("question", "prompt"), rows_jsonl=ONE)
    text = refusal_of(lambda: load_prompts(catalog.datasets()["mine"]))
    assert text.endswith(f"--dataset PATH, or correct rows of mine ({folder}/datasets.yaml, line 8).")


def test_wrong_columns_of_other_sets_are_corrected_in_their_entries(use: Use) -> None:
    base = "{kind: file, source: ./rows.jsonl, licence: l, description: d, "
    folder = use(
        more_yaml=f"training_sets:\n  demos: {base}prompt_column: prompt, response_column: said}}\n"
        f"responses:\n  said: {base}response_column: said}}\n"
        f"benchmarks:\n  sums: {base}grader: math, prompt: '{{prompt}}', prompt_source: own, "
        "reference: {gold: said}}\n",
        rows_jsonl=ONE,
    )
    for call, words in [
        (lambda: load_training_set(catalog.training_sets()["demos"]), f"correct response_column of demos ({folder}/"),
        (lambda: resolve_import(ImportConfig(source="said")), f"correct response_column of said ({folder}/"),
        (lambda: load_problems(catalog.benchmarks()["sums"]), f"or correct reference of sums ({folder}/"),
    ]:
        assert words in refusal_of(call)


def test_a_path_without_its_dot_names_the_file_beside_the_catalog(
    use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = (
        "judges:\n  words: {kind: refusal_match, phrases: words.txt}\n"
        "  rules: {kind: policy, policy_file: words.txt, endpoint: {base_url: 'http://localhost:1/v1', model: m}}\n"
    )
    folder = use(datasets_yaml=ROWS.replace("./rows", "rows"), judges_yaml=judges, rows_jsonl=ONE)
    (folder / "words.txt").write_text("I cannot\n")
    monkeypatch.chdir(tmp_path)
    beside = "here, but there is one beside the catalog file. Fix: write ./"
    text = refusal_of(lambda: load_prompts(catalog.datasets()["mine"]))
    assert f"{beside}rows.jsonl in source of mine ({folder}/datasets.yaml, line 6)." in text
    for name, key, line in (("words", "phrases", 2), ("rules", "policy_file", 3)):
        text = refusal_of(lambda name=name: resolve_judge(JudgeConfig(name=name)))
        assert f"{beside}words.txt in {key} of {name} ({folder}/judges.yaml, line {line})." in text


def test_a_hub_id_is_no_path_even_where_a_folder_has_its_name(use: Use, tmp_path: Path) -> None:
    folder = use(datasets_yaml=ROWS.replace("kind: file", "kind: huggingface").replace("./rows.jsonl", "org/rows"))
    (folder / "org" / "rows").mkdir(parents=True)
    catalog.check_path(catalog.datasets()["mine"], "source")


def test_a_missing_file_of_a_judge_is_corrected_in_its_entry(use: Use) -> None:
    folder = use(
        judges_yaml="judges:\n  words: {kind: refusal_match, phrases: ./no.txt}\n"
        "  rules: {kind: policy, policy_file: ./no.txt, endpoint: {base_url: 'http://localhost:1/v1', model: m}}\n"
    )
    for name, key, line in (("words", "phrases", 2), ("rules", "policy_file", 3)):
        text = refusal_of(lambda name=name: resolve_judge(JudgeConfig(name=name)))
        assert f"in {key} of {name} ({folder}/judges.yaml, line {line})." in text
    text = refusal_of(lambda: resolve_judge(JudgeConfig(name="words", phrases="nowhere.txt")))
    assert "Fix: check the path in judges.N.phrases." in text


def test_a_module_that_imports_what_is_not_there_is_named_with_its_line(use: Use) -> None:
    use(judges_yaml="judges:\n  mine: {kind: 'imports_it:Mine'}\n", imports_it_py="\nimport no_such_package\n")
    text = refusal_of(lambda: resolve_judge(JudgeConfig(name="mine")))
    assert "ModuleNotFoundError: No module named 'no_such_package' (imports_it.py, line 2). Fix: " in text
