"""Wrong entries of a user's catalog: what is refused with file and line, and what still works beside them."""

import json

import pytest
from click.testing import CliRunner

from safechain_ray import catalog
from safechain_ray.cli import app
from safechain_ray.commands.doctor.examine import examine
from safechain_ray.commands.finetune.resolve import resolve_base_model
from safechain_ray.commands.import_responses import resolve_import
from safechain_ray.config import ImportConfig, ModelConfig, RunConfig
from safechain_ray.datasets.training_sets import tags_of
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.runs.resolve import resolve
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


def test_a_model_that_fits_no_gpu_hides_no_other_one_in_the_list(use: Use) -> None:
    use(more_yaml="models:\n  huge: {source: a/b, family: r1, parameters: 100000, context_length: 4096}\n")
    listed = CliRunner().invoke(app, ["list", "models", "--json"])
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert (rows["huge"]["GPUs of 80 GB"], rows["R1-7B"]["GPUs of 80 GB"]) == (None, 1)
    assert CliRunner().invoke(app, ["list", "models"]).exit_code == 0
