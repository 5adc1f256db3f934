"""The families, models and judges of the catalog."""

import pytest
from pydantic import ValidationError

from safechain_ray.catalog import families, judges, lookup, models
from safechain_ray.catalog.entries import Endpoint
from safechain_ray.decoding.base import STRATEGIES, check_strategy
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.schema import StrategySpec, ThinkingTags

PAPER = {"R1-1.5B", "R1-7B", "R1-8B", "R1-14B", "R1-32B", "R1-70B", "Skywork-o1", "QwQ", "Sky-T1"}
GPU_GIGABYTES = 80


def test_the_papers_open_models_are_there():
    assert set(models()) >= PAPER


@pytest.mark.parametrize("model", list(models().values()), ids=lambda model: model.name)
def test_a_model_has_a_known_family_and_a_licence(model):
    assert model.family in families()
    assert model.licence != "unknown"
    assert not model.trust_remote_code


@pytest.mark.parametrize("model", list(models().values()), ids=lambda model: model.name)
def test_the_weights_leave_room_for_the_cache_on_gpus_of_80_gb(model):
    assert model.weight_gigabytes / model.gpus <= 0.6 * GPU_GIGABYTES
    assert model.context_length > 16_000 or model.runs_on_cpu


def test_only_the_demo_models_run_on_cpus_unasked():
    assert [model.name for model in models().values() if model.runs_on_cpu] == ["demo-reasoner"]
    assert [judge.name for judge in judges().values() if judge.engine and judge.engine.runs_on_cpu] == ["demo-guard"]


@pytest.mark.parametrize("name", ["r1", "demo"])
def test_r1_style_families_think_between_think_tags_and_take_no_system_prompt(name):
    family = families()[name]
    assert family.tags == ThinkingTags("<think>", "</think>")
    assert [turn.role for turn in family.conversation("Q")] == ["user"]


def test_sky_t1_is_told_its_own_tags_and_real_line_breaks():
    family = families()["sky-t1"]
    for tag in (family.tags.open, family.tags.close, family.tags.answer_open, family.tags.answer_close):
        assert tag in family.system_prompt
    assert "separated with '\n\n'}" in family.system_prompt
    assert "  " not in family.system_prompt


@pytest.mark.parametrize("name", ["qwq", "skywork-o1"])
def test_qwq_and_skywork_have_no_tags_and_a_system_prompt_of_one_line(name):
    family = families()[name]
    assert family.tags is None
    assert [turn.role for turn in family.conversation("Q")] == ["system", "user"]
    assert "\n" not in family.system_prompt


@pytest.mark.parametrize("family", list(families().values()), ids=lambda family: family.name)
def test_every_family_says_where_its_facts_come_from_and_can_at_least_decode_as_it_likes(family):
    assert family.source
    check_strategy(StrategySpec(name="default"), family)


def test_a_family_with_tags_can_follow_every_strategy():
    for family in families().values():
        if family.tags is not None:
            for name in STRATEGIES:
                check_strategy(StrategySpec(name=name), family)


def test_judges_say_what_their_kind_needs_an_engine_an_endpoint_or_nothing():
    assert {judge.name: judge.kind for judge in judges().values()} == {
        "llama-guard-3-8b": "llama_guard",
        "llama-guard-3-1b": "llama_guard",
        "llama-guard-4-12b": "llama_guard",
        "harmbench": "harmbench",
        "openai-moderation": "openai_moderation",
        "demo-guard": "llama_guard",
        "refusal-match": "refusal_match",
    }
    for judge in judges().values():
        assert (judge.engine is not None) == (judge.kind in ("llama_guard", "harmbench"))
        assert (judge.endpoint is not None) == (judge.kind == "openai_moderation")


def test_the_harmbench_classifier_has_the_context_that_it_was_trained_with():
    engine = judges()["harmbench"].engine
    assert engine is not None
    assert (engine.context_length, engine.dtype) == (2048, "bfloat16")


def test_guards_with_a_multimodal_template_want_a_list_of_contents():
    lists = {judge.name for judge in judges().values() if judge.engine and judge.engine.message_content == "list"}
    assert lists == {"llama-guard-3-1b", "llama-guard-4-12b"}


def test_a_usual_message_content_is_not_dumped_so_that_older_runs_keep_their_identity():
    guards = judges()
    assert "message_content" not in guards["llama-guard-3-8b"].model_dump()["engine"]
    assert guards["llama-guard-3-1b"].model_dump()["engine"]["message_content"] == "list"
    assert "endpoint" not in guards["refusal-match"].model_dump()


def test_an_address_with_a_secret_in_it_is_no_endpoint():
    for address in ("https://me:secret@host/v1", "https://host/v1?key=secret", "host/v1"):
        with pytest.raises(ValidationError, match="base_url"):
            Endpoint(base_url=address, model="m")


def test_a_key_comes_from_its_variable_and_shows_nowhere(monkeypatch):
    endpoint = Endpoint(base_url="http://host/v1", model="m", api_key_env="A_KEY")
    monkeypatch.setenv("A_KEY", " sk-secret ")
    key = endpoint.api_key()
    assert key is not None
    assert key.get_secret_value() == "sk-secret"
    assert "secret" not in repr((endpoint, key))
    monkeypatch.delenv("A_KEY")
    with pytest.raises(InputError, match="environment variable A_KEY is not set"):
        endpoint.api_key()
    assert Endpoint(base_url="http://host/v1", model="m").api_key() is None


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'R1-7B'"):
        lookup("model", models(), "r1-7B")
