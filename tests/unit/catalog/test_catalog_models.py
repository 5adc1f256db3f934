"""The families, models and judges of the catalog."""

import pytest
from pydantic import ValidationError

from safechain_ray.catalog import datasets, families, judges, lookup, models, responses, shapes, training_sets
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.catalog.judge_entries import Endpoint
from safechain_ray.catalog.judge_forms import FORMS
from safechain_ray.cluster.gpu_fit import Gpus, fit_engine
from safechain_ray.decoding.base import STRATEGIES, check_strategy
from safechain_ray.engines.api_wire import missing_key
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.types import StrategySpec, ThinkingTags

PAPER = {"R1-1.5B", "R1-7B", "R1-8B", "R1-14B", "R1-32B", "R1-70B", "Skywork-o1", "QwQ", "Sky-T1"}
COMPARED = {"Llama-3.3-70B-Instruct", "Llama-3.1-70B", "R1-7B-SafeChain", "R1-8B-SafeChain", "R1-671B"}
ENGINES = [*models().values(), *(judge.engine for judge in judges().values() if judge.engine)]


def test_the_papers_open_models_are_there():
    assert set(models()) >= PAPER


def test_so_are_those_that_it_tunes_or_compares_them_with():
    assert set(models()) >= COMPARED


@pytest.mark.parametrize("model", list(models().values()), ids=lambda model: model.name)
def test_a_model_has_a_known_family_and_a_licence(model):
    assert model.family in families()
    assert model.licence != "unknown"
    assert not model.trust_remote_code


@pytest.mark.parametrize("model", list(models().values()), ids=lambda model: model.name)
def test_the_context_holds_the_papers_16000_tokens_and_a_prompt(model):
    assert model.context_length > 16_000 or model.runs_on_cpu


# Attention heads and layers as the models' own config.json has them.
HEADS_AND_LAYERS = {
    "R1-1.5B": (12, 28),
    "R1-7B": (28, 28),
    "R1-8B": (32, 32),
    "R1-14B": (40, 48),
    "R1-32B": (40, 64),
    "R1-70B": (64, 80),
    "R1-671B": (128, 61),
    "R1-7B-SafeChain": (28, 28),
    "R1-8B-SafeChain": (32, 32),
    "Skywork-o1": (32, 32),
    "QwQ": (40, 64),
    "Sky-T1": (40, 64),
    "Sky-T1-Flash": (40, 64),
    "Llama-3.3-70B-Instruct": (64, 80),
    "Llama-3.1-70B": (64, 80),
    "Qwen3-4B": (32, 36),
    "Qwen3-8B": (32, 36),
    "Qwen3-14B": (40, 40),
    "Qwen3-32B": (64, 64),
    "Qwen3-30B-A3B-Thinking": (32, 48),
    "gpt-oss-20b": (64, 24),
    "gpt-oss-120b": (64, 36),
    "Olmo-3.1-32B-Think": (40, 64),
    "QwQ-32B": (40, 64),
    "R1-0528-Qwen3-8B": (32, 36),
    "STAR1-8B": (32, 32),
    "SafeKey-8B": (32, 32),
    "RealSafe-R1-7B": (28, 28),
    "Qwen3-4B-SafeRL": (32, 36),
    "Seed-OSS-36B": (80, 64),
}

# Billions of parameters that compute a token, as the models' cards and the recipes of vLLM say.
ACTIVE = {
    "R1-671B": 37,
    "Qwen3-30B-A3B-Thinking": 3.3,
    "Qwen3.6-35B-A3B": 3,
    "gpt-oss-20b": 3.6,
    "gpt-oss-120b": 5.1,
    "Nemotron-3-Nano": 3.5,
    "Gemma-4-26B-A4B": 3.8,
    "GLM-4.7-Flash": 3,
}


def test_mixtures_of_experts_name_their_active_parameters():
    assert {name: entry.active_parameters for name, entry in models().items() if entry.active_parameters} == ACTIVE


RECENT = ("Qwen3", "gpt", "Olmo", "GLM", "Nemotron", "Gemma")


def test_models_of_2026_fit_two_gpus_of_80_gigabytes():
    """gpt-oss-120b too, whose weights are MXFP4."""
    recent = [entry for name, entry in models().items() if name.startswith(RECENT)]
    assert len(recent) > 10
    assert all(fit_engine(entry, Gpus(80)).sizes.gpus <= 2 for entry in recent)


@pytest.mark.parametrize("name", HEADS_AND_LAYERS)
def test_attention_is_that_of_the_models_own_config(name):
    attention = models()[name].attention
    assert (attention.heads, attention.layers) == HEADS_AND_LAYERS[name]


@pytest.mark.parametrize("name", shapes())
def test_attention_agrees_with_the_shape_that_training_is_planned_by(name):
    shape, attention = shapes()[name], models()[name].attention
    found = (attention.layers, attention.heads, attention.key_value_heads, attention.head_size)
    assert found == (shape.layers, shape.heads, shape.key_value_heads, shape.head_size or shape.hidden // shape.heads)


def test_r1_itself_takes_16_gpus():
    assert models()["R1-671B"].gpus == 16


@pytest.mark.parametrize("entry", [*models().values(), *judges().values()], ids=lambda entry: entry.name)
def test_a_gated_entry_says_how_to_get_access(entry):
    assert not entry.gated or "HF_TOKEN" in entry.access


HUB_SETS = [
    entry for table in (datasets, responses, training_sets) for entry in table().values() if entry.kind == "huggingface"
]


@pytest.mark.parametrize("entry", [*ENGINES, *HUB_SETS], ids=lambda entry: entry.source)
def test_a_revision_is_a_whole_commit(entry):
    assert entry.revision is None or len(bytes.fromhex(entry.revision)) == 20


# No public record of a commit was found; the comments of the catalog's files name these entries.
UNPINNED = {
    "NovaSky-AI/Sky-T1-32B-Flash",
    "UWNSL/DeepSeek-R1-Distill-Qwen-7B-SafeChain",
    "UWNSL/DeepSeek-R1-Distill-Llama-8B-SafeChain",
    "UCSC-VLAA/STAR1-R1-Distill-8B",
    "kzhou35/SafeKey-8B",
    "RealSafe/RealSafe-R1-7B",
    "tomg-group-umd/DynaGuard-1.7B",
    "tomg-group-umd/DynaGuard-8B",
    "nvidia/Nemotron-Content-Safety-Reasoning-4B",
    "ReasoningShield/ReasoningShield-1B",
    "ReasoningShield/ReasoningShield-3B",
    "google/shieldgemma-27b",
    "Alibaba-AAIG/YuFeng-XGuard-Reason-8B",
    "UWNSL/WildJailbreakEval",
    "UWNSL/SafeChain",
    "UCSC-VLAA/STAR-1",
}


def test_all_other_entries_of_the_hub_are_pinned():
    unpinned = {entry.source for entry in [*ENGINES, *HUB_SETS] if not entry.revision}
    assert {source for source in unpinned if not source.startswith("package:")} == UNPINNED


@pytest.mark.parametrize("table", [datasets, responses, training_sets])
def test_entries_of_one_source_have_one_revision(table):
    revisions = {(entry.source, entry.revision) for entry in table().values()}
    assert len(revisions) == len({source for source, _ in revisions})


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


def test_a_family_with_tags_can_follow_every_strategy_without_a_switch():
    for family in families().values():
        if family.tags is not None:
            for name, entry in STRATEGIES.items():
                if entry.switch is None:
                    check_strategy(StrategySpec(name=name, options=entry.example), family)


def test_a_family_with_a_switch_can_follow_the_models_own():
    for family in families().values():
        if family.no_think is not None:
            check_strategy(StrategySpec(name="no-think"), family)
        for level in family.efforts:
            check_strategy(StrategySpec(name="effort", options={"level": level}), family)


def test_judges_say_what_their_kind_needs_an_engine_an_endpoint_or_nothing():
    assert {judge.name: judge.kind for judge in judges().values()} == {
        "llama-guard-3-8b": "llama_guard",
        "llama-guard-3-1b": "llama_guard",
        "llama-guard-4-12b": "llama_guard",
        "harmbench": "harmbench",
        "qwen3guard-gen-0.6b": "labelled_lines",
        "qwen3guard-gen-4b": "labelled_lines",
        "qwen3guard-gen-8b": "labelled_lines",
        "wildguard": "labelled_lines",
        "polyguard-qwen": "labelled_lines",
        "polyguard-qwen-smol": "labelled_lines",
        "granite-guardian-4.1-8b": "labelled_lines",
        "dynaguard-8b": "labelled_lines",
        "dynaguard-1.7b": "labelled_lines",
        "nemotron-safety-4b": "labelled_lines",
        "reasoningshield-3b": "labelled_lines",
        "reasoningshield-1b": "labelled_lines",
        "gpt-oss-safeguard-20b": "policy",
        "shieldgemma-2b": "first_token",
        "shieldgemma-9b": "first_token",
        "shieldgemma-27b": "first_token",
        "yufeng-xguard-reason-8b": "first_token",
        "strongreject-gpt-4o": "template",
        "openai-moderation": "openai_moderation",
        "prefer-llama-3.3-70b": "preference",
        "prefer-gpt-4o": "preference",
        "demo-guard": "llama_guard",
        "refusal-match": "refusal_match",
    }
    for judge in judges().values():
        if judge.kind in ("preference", *FORMS):
            assert (judge.engine is None) != (judge.endpoint is None)
            continue
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
    with pytest.raises(InputError, match=r"environment variable A_KEY is not set\..* Fix: run `export A_KEY=") as error:
        endpoint.api_key()
    assert "The key for http://host/v1 is read from it." in str(error.value)
    assert Endpoint(base_url="http://host/v1", model="m").api_key() is None


@pytest.mark.parametrize(("character", "shown"), [("…", "…"), (" ", "U+0020"), ("\n", "U+000A"), ("é", "é")])
def test_a_key_that_no_header_can_have_is_refused_without_a_quote(monkeypatch, character: str, shown: str):
    """A key copied from a page may have its ellipsis: the request would fail, as if the server had answered badly."""
    monkeypatch.setenv("A_KEY", f"sk-sec{character}ret")
    says = f"The key in A_KEY has the character '{shown}', which no key has. Fix: copy the key again."
    with pytest.raises(InputError) as error:
        Endpoint(base_url="http://host/v1", model="m", api_key_env="A_KEY").api_key()
    model = ApiEntry(name="m", api_model="m", base_url="http://host/v1", api_key_env="A_KEY")
    assert str(error.value) == missing_key(model) == says


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'R1-7B'\?.* Fix: give a known name\."):
        lookup("model", models(), "r1-7B")
