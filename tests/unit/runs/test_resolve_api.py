"""Models behind APIs, from a config to their entry: what is overridden, what is refused, what makes the same run."""

from typing import Any

import pytest

from safechain_ray.catalog import api_models, families, judges
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.catalog.judge_entries import judging_api
from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.config import ResourcesConfig
from safechain_ray.errors import InputError
from safechain_ray.runs.pools import pool_needs
from tests.unit.runs.small_runs import config, resolved

URL = "http://localhost:8000/v1"
SERVER = {"name": "openai:org/my-model", "base_url": URL}
RULES = ["refusal-match"]


def entry(**model: Any) -> ApiEntry:
    found = resolved(model=model, judges=RULES).model
    assert isinstance(found, ApiEntry)
    return found


def refusal(**keys: Any) -> str:
    with pytest.raises(InputError) as refused:
        resolved(**{"judges": RULES, **keys})
    return str(refused.value)


PAPER_APIS = {"R1", "Gemini-Thinking", "Kimi-k1.5"}


def test_the_papers_models_behind_apis_are_there_and_say_what_became_of_them():
    assert set(api_models()) >= PAPER_APIS
    assert all(api_models()[name].caveat for name in PAPER_APIS)
    for model in api_models().values():
        assert model.family in families()
        assert model.api_key_env
        assert model.licence != "unknown"


def test_any_server_is_a_model_and_is_sent_no_key_that_was_not_named():
    model = entry(**SERVER)
    assert (model.name, model.api_model, model.base_url) == ("my-model", "org/my-model", URL)
    assert (model.family, model.api_key_env, model.prices) == ("api", None, None)
    assert model.source == "org/my-model at localhost"


def test_another_endpoint_gets_neither_the_catalogs_key_nor_its_prices():
    elsewhere = entry(name="R1", base_url=URL, api_model="deepseek-ai/DeepSeek-R1")
    assert (elsewhere.api_key_env, elsewhere.prices, elsewhere.api_model) == (None, None, "deepseek-ai/DeepSeek-R1")
    assert entry(name="R1", base_url=URL, api_key_env="MY_KEY").api_key_env == "MY_KEY"
    assert entry(name="R1", api_model="deepseek-r2").api_key_env == "DEEPSEEK_API_KEY"


def test_prices_and_limits_are_overridable():
    model = entry(name="R1", api={"prices": {"input": 1, "output": 2}, "max_concurrent": 3, "omits": ["seed"]})
    assert model.prices is not None
    assert (model.prices.output, model.max_concurrent, model.omits) == (2, 3, ("seed",))


@pytest.mark.parametrize("strategy", ["zerothink", "lessthink", "morethink"])
def test_a_strategy_that_writes_part_of_the_response_is_refused(strategy: str):
    assert f"Strategy '{strategy}' prefills part of the response" in refusal(model=SERVER, strategies=[strategy])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"model": "openai:m"}, "Fix: name the endpoint with --base-url"),
        ({"model": {**SERVER, "base_url": "localhost:8000"}}, "is no endpoint: write http"),
        ({"model": {**SERVER, "base_url": "http://me:secret@host/v1"}}, "keys come from the environment"),
        ({"model": {**SERVER, "base_url": "http://host/v1?key=secret"}}, "keys come from the environment"),
        ({"model": {**SERVER, "family": "r-1"}}, "Unknown model family 'r-1'"),
        ({"model": {**SERVER, "engine": {"dtype": "float32"}}}, "has no engine to configure"),
        ({"model": {"name": "demo-reasoner", "base_url": URL}}, "is run here, not behind an API"),
        ({"model": SERVER, "resources": {"replicas": 2}}, "one replica, which enforces its budget"),
        ({"model": SERVER, "resources": {"max_cost": 5}}, "prices of org/my-model at localhost are unknown"),
        ({"model": {**SERVER, "api": {"prices": {"input": 1}}}}, "prices.output"),
        ({"model": "Kimi"}, "Did you mean 'Kimi-k1.5'?"),
    ],
)
def test_what_can_not_work_is_refused_with_the_fix_and_without_secrets(keys: dict[str, Any], words: str):
    text = refusal(**keys)
    assert words in text
    assert "secret" not in text


def test_the_endpoint_and_the_model_make_a_run_and_budgets_and_prices_do_not():
    def identity(**keys: Any) -> dict[str, Any]:
        return resolved(judges=RULES, **keys).identity()

    usual = identity(model="R1")
    assert identity(model={"name": "R1", "api": {"prices": {"input": 1, "output": 2}, "max_concurrent": 2}}) == usual
    assert identity(model="R1", resources={"max_cost": 1, "max_requests": 9}) == usual
    assert identity(model={"name": "R1", "api": {"max_tokens_parameter": "max_completion_tokens"}}) == usual
    assert identity(model={"name": "R1", "api_model": "other"}) != usual
    assert identity(model={"name": "R1", "api": {"opens_thought": True}}) != usual
    assert identity(model={"name": "R1", "base_url": URL}) != usual


def test_rows_whose_thoughts_were_divided_by_other_rules_are_not_mixed_with_these():
    assert resolved(model=SERVER, judges=RULES).identity()["model"]["reading"] == 2
    assert resolved(judges=RULES, parts=["response", "answer"]).identity()["reading"] == 2
    assert "reading" not in resolved(judges=RULES).identity()


def test_a_judge_behind_an_api_is_never_asked_how_it_thinks():
    """Its answer is one letter, cut by design, and would look like a thought that was cut."""
    assert judging_api(judges()["prefer-gpt-4o"]).opens_thought is False


def test_a_pool_of_an_api_model_takes_no_gpu_and_little_else():
    view = ClusterView((Node("gpu", 64, 8, 1000),))
    model, guard = pool_needs(resolved(model=SERVER, judges=["demo-guard"]), ResourcesConfig(), view)
    assert (model.pool, model.engine, model.gpus, model.wanted) == ("model", "org/my-model at localhost", 0, 1)
    assert model.cpus <= 0.5
    assert guard.gpus == 1


def test_the_config_that_run_json_holds_names_the_keys_variable_and_no_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    stored = config(model={**SERVER, "api_key_env": "MY_KEY"}).model_dump_json()
    assert "MY_KEY" in stored
    assert "sk-secret" not in stored
