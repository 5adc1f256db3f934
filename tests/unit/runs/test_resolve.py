"""From a config to all that it names: what is refused before anything starts, and what makes a run the same run."""

import json
from pathlib import Path
from typing import Any

import pytest

from safechain_ray import catalog
from safechain_ray.config import JudgeConfig
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.runs import resolve_model as resolving
from safechain_ray.runs.folder import differences
from safechain_ray.runs.resolve import judge_identity, resolve, resolve_judge, resolve_preference_judge
from tests.unit.runs.small_runs import config, resolved


def refusal(**keys: Any) -> str:
    with pytest.raises(InputError) as refused:
        resolved(**keys)
    return str(refused.value)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A model that the catalog does not hold, with 4 MB of weights."""
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 4096}')
    (folder / "model.safetensors").write_bytes(bytes(4_000_000))
    return folder


def prompts_file(path: Path, *prompts: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["prompt", *prompts]) + "\n")
    return str(path)


def test_a_run_knows_its_model_family_settings_prompts_and_judges():
    run = resolved(strategies=["default", "zerothink"])
    assert (run.model.name, run.family.name, len(run.settings)) == ("demo-reasoner", "demo", 2)
    assert len(run.prompt_sets["quickstart"].prompts) == 3
    assert [judge.kind for judge in run.judges] == ["llama_guard", "refusal_match"]
    assert len(run.sample_specs) == 2 * 3 * 3


@pytest.mark.parametrize(
    ("keys", "kind", "offer"),
    [
        ({"model": "R1-7b"}, "model 'R1-7b'", "R1-7B"),
        ({"model": "demo-resoner"}, "model 'demo-resoner'", "demo-reasoner"),
        ({"judges": ["lama-guard-3-8b"]}, "judge 'lama-guard-3-8b'", "llama-guard-3-8b"),
        ({"datasets": ["strong-reject"]}, "data set 'strong-reject'", "strongreject"),
        ({"strategies": ["zerothnk"]}, "strategy 'zerothnk'", "zerothink"),
        ({"model": {"name": "R1-7B", "family": "r-1"}}, "model family 'r-1'", "r1"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(keys: dict[str, Any], kind: str, offer: str):
    with pytest.raises(UnknownNameError) as refused:
        resolved(**keys)
    assert f"Unknown {kind}. Did you mean '{offer}'? Known: " in str(refused.value)


@pytest.mark.parametrize("strategy", ["zerothink", "lessthink", "morethink"])
def test_a_strategy_that_the_model_cannot_follow_is_refused(strategy: str):
    assert f"Strategy '{strategy}' controls the text between thinking tags" in refusal(
        model="QwQ", strategies=[strategy]
    )


def test_an_option_that_a_strategy_does_not_have_is_refused():
    assert "no option 'compta'" in refusal(strategies=[{"name": "morethink", "compta": "paper"}])


@pytest.mark.parametrize("part", ["thought", "answer"])
def test_parts_of_a_model_without_thinking_tags_are_refused(part: str):
    assert f"parts: {part} can't be judged apart for QwQ" in refusal(model="QwQ", parts=["response", part])
    assert resolved(model="QwQ").parts == ("response",)


def test_an_explicit_setting_of_an_unlisted_data_set_is_refused():
    assert "settings.0.dataset: 'strongreject' is not among" in refusal(settings=[{"dataset": "strongreject"}])


def test_two_data_sets_with_one_short_name_are_refused(tmp_path: Path):
    files = [prompts_file(tmp_path / folder / "prompts.csv", "Hello") for folder in ("a", "b")]
    assert "Two data sets have the same short name (prompts, prompts)" in refusal(datasets=files)


def test_a_missing_column_is_refused_with_the_columns_there_are(tmp_path: Path):
    file = prompts_file(tmp_path / "prompts.csv", "Hello")
    text = refusal(datasets=[{"name": file, "prompt_column": "promt"}])
    assert "no column 'promt'. Did you mean 'prompt'?" in text


def test_a_bad_prompt_is_a_row_with_an_error_or_refused_as_asked(tmp_path: Path):
    file = prompts_file(tmp_path / "prompts.csv", "Hello", '" "', "Hello")
    run = resolved(datasets=[file])
    assert [bool(prompt.error) for prompt in run.prompt_sets["prompts"].prompts] == [False, True, True]
    assert "has 2 rows that can't be prompts" in refusal(datasets=[file], on_bad_prompt="refuse")


def test_a_model_by_folder_takes_its_context_and_size_from_its_files(model_folder: Path):
    run = resolved(model={"name": str(model_folder), "family": "r1"})
    assert (run.model.name, run.model.source, run.family.name) == ("my-model", str(model_folder), "r1")
    assert run.model.context_length == 4096
    assert run.model.weight_gigabytes == pytest.approx(0.004)


def test_a_model_by_folder_with_a_long_context_is_given_32768_tokens_unless_more_are_asked_for(model_folder: Path):
    (model_folder / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 131072}')
    model = {"name": str(model_folder), "family": "r1"}
    assert resolved(model=model).model.context_length == 32_768
    assert resolved(model={**model, "engine": {"context_length": 65_536}}).model.context_length == 65_536


def test_a_model_that_the_catalog_does_not_hold_needs_its_family(model_folder: Path):
    assert refusal(model=str(model_folder)).endswith(
        "Fix: add --family r1 if it writes <think>...</think> or --family llama-instruct if it is a chat model without "
        "tags (others: deepseek-v4, gemma4, glm, gpt-oss, kimi-k2, llama-base, mistral-think, nemotron3, olmo3, qwen3, "
        "qwen3-thinking, qwq, seed-oss, sky-t1, skywork-o1)."
    )


def test_a_single_word_is_offered_as_a_folder_a_hub_id_and_a_model_of_an_api():
    own = "Fix: give a known name, or write ./gpt-4o for a folder or OWNER/gpt-4o for a Hugging Face id"
    api = ", or openai:gpt-4o with --base-url for an API."
    assert refusal(model={"name": "gpt-4o", "family": "r1"}).endswith(own + api)
    assert refusal(model="gpt-4o").endswith(f"{own} with its --family{api}")


def test_an_unknown_family_is_refused_before_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resolving, "weights_location", lambda source: pytest.fail("asked for the weights"))
    assert "Unknown model family 'r-1'" in refusal(model={"name": "someone/model", "family": "r-1"})


def test_the_hub_id_of_a_catalog_model_names_that_model():
    run = resolved(model="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    assert (run.model, run.family.name) == (catalog.models()["R1-7B"], "r1")


def test_a_folder_without_a_readable_config_is_refused(model_folder: Path):
    (model_folder / "config.json").write_text("{")
    assert f"The config of model {model_folder} can't be read" in refusal(
        model={"name": str(model_folder), "family": "r1"}
    )


def test_a_config_that_wants_code_of_its_own_is_refused_without_asking(model_folder: Path):
    (model_folder / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "someone/code--c.C"}}')
    text = refusal(model={"name": str(model_folder), "family": "r1"})
    assert f"Model {model_folder} needs Python code from its own folder" in text


def test_a_model_at_a_uri_that_lacks_a_slash_is_refused_with_the_right_one():
    for family in ({}, {"family": "r1"}):
        with pytest.raises(InputError, match=r"Fix: write it as s3://bucket/model"):
            resolve(config(model={"name": "s3:/bucket/model", **family}))


def test_a_missing_model_folder_is_refused():
    for model in ({"name": "./no-such-model", "family": "r1"}, "./no-such-model"):
        assert "No model folder at ./no-such-model" in refusal(model=model)


def test_a_folder_without_a_config_is_refused_as_no_models_folder(tmp_path: Path):
    for model in ({"name": str(tmp_path), "family": "r1"}, str(tmp_path)):
        assert refusal(model=model) == (
            f"{tmp_path} is not a model's folder: it has no config.json. Fix: give the folder that has config.json and "
            "*.safetensors."
        )


def test_overrides_of_an_engine_are_laid_over_the_catalogs():
    engine = {"context_length": 1024, "engine_kwargs": {"seed": 3}}
    run = resolved(model={"name": "demo-reasoner", "engine": engine}, judges=[{"name": "demo-guard", "engine": engine}])
    assert run.judges[0].engine is not None
    for needs in (run.model, run.judges[0].engine):
        assert (needs.context_length, needs.dtype) == (1024, "float32")
        assert needs.engine_kwargs == {"distributed_executor_backend": "uni", "seed": 3}


def test_what_a_config_sets_of_an_engine_is_known_to_be_the_users():
    own = {"name": "R1-32B", "engine": {"tensor_parallel_size": 8}}
    assert resolved(model=own).model.fixed == {"tensor_parallel_size"}
    assert resolved(model="R1-32B").model.fixed == frozenset()


def test_the_gpus_that_a_run_has_are_no_part_of_its_identity():
    identities = [resolved(model="R1-32B", resources={"gpu_memory": memory}).identity() for memory in (None, 48)]
    assert identities[0] == identities[1]
    fixed = resolved(model={"name": "R1-32B", "engine": {"tensor_parallel_size": 8}}).identity()
    assert fixed != identities[0]
    assert differences(identities[0], fixed) == []


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"engine_kwargs": {"tensor_parallel_size": 2}}, "tensor_parallel_size is not set there. Fix: set tensor_para"),
        ({"engine_kwargs": {"max_model_len": 99}}, "max_model_len is not set there. Fix: set context_length"),
        ({"engine_kwargs": {"max_num_seqs": 9}}, "max_num_seqs is not set there. Fix: set resources.max_running"),
        ({"engine_kwargs": {"trust_remote_code": True}}, "Fix: leave it out: only an entry of the catalog may ask"),
        ({"engine_kwargs": {"gpu_memory_utilization": "0.5"}}, "give a number above 0 and up to 1"),
        ({"engine_kwargs": {"gpu_memory_utilization": 90}}, "give a number above 0 and up to 1"),
        ({"engine_kwargs": {"quantization": "awq"}, "quantization": "fp8"}, "are quantized already"),
    ],
)
def test_engine_arguments_that_contradict_the_plan_or_run_foreign_code_are_refused(engine: dict[str, Any], says: str):
    assert says in refusal(model={"name": "R1-32B", "engine": engine})


def test_quantization_is_part_of_the_identity_where_it_is_asked_for():
    assert "quantization" not in resolved(model="R1-7B").identity()["model"]
    quantized = resolved(model={"name": "R1-7B", "engine": {"quantization": "fp8"}})
    assert quantized.identity()["model"]["quantization"] == "fp8"
    assert "are quantized already" in refusal(model={"name": "R1-671B", "engine": {"quantization": "fp8"}})


def test_what_the_catalog_only_says_of_a_model_is_no_part_of_a_runs_identity():
    identity = resolved(model="R1-7B", judges=["llama-guard-3-8b"]).identity()
    for fields in (identity["model"], identity["judges"][0], identity["judges"][0]["engine"]):
        assert not {"access", "gated", "attention", "fixed", "weights_dtype", "chat_template"} & fields.keys()
    assert "chat_template" in resolved(model="Llama-3.1-70B").identity()["model"]


def test_phrases_of_a_judge_with_a_model_and_an_engine_of_one_without_are_refused(tmp_path: Path):
    assert "demo-guard takes no phrases" in refusal(judges=[{"name": "demo-guard", "phrases": "p.txt"}])
    assert "refusal-match has no engine to configure" in refusal(
        judges=[{"name": "refusal-match", "engine": {"dtype": "float16"}}]
    )


def test_special_tokens_as_text_are_refused_where_a_judge_has_no_chat_template():
    assert "harmbench has a prompt of its own without a chat template" in refusal(
        judges=[{"name": "harmbench", "engine": {"special_tokens": "text"}}]
    )


def test_a_missing_or_empty_file_of_phrases_is_refused(tmp_path: Path):
    phrases = tmp_path / "phrases.txt"
    assert refusal(judges=[{"name": "refusal-match", "phrases": str(phrases)}]) == (
        f"There is no file {phrases} with refusal phrases. Fix: check the path in judges.N.phrases."
    )
    phrases.write_text("# none yet\n")
    assert "no phrase in it" in refusal(judges=[{"name": "refusal-match", "phrases": str(phrases)}])


CHANGES_NOTHING = [
    {"output": "runs/elsewhere"},
    {"resources": {"replicas": 4, "block_rows": 8, "device": "cpu", "max_running": 8, "stall_timeout_minutes": 1}},
    {"datasets": [{"name": "quickstart", "limit": 3, "prompt_column": "prompt"}]},
    {"model": {"name": "demo-reasoner", "engine": {}}},
    {"settings": [{"dataset": "quickstart", "samples": 3, "sampling": {"temperature": 0.6}}]},
]
CHANGES_RESULTS = [
    {"model": "R1-7B"},
    {"model": {"name": "demo-reasoner", "engine": {"dtype": "bfloat16"}}},
    {"model": {"name": "demo-reasoner", "engine": {"context_length": 1024}}},
    {"model": {"name": "demo-reasoner", "engine": {"engine_kwargs": {"quantization": "fp8"}}}},
    {"model": {"name": "demo-reasoner", "family": "r1"}},
    {"datasets": [{"name": "quickstart", "limit": 4}]},
    {"datasets": [{"name": "quickstart", "limit": 3, "shuffle_seed": 1}]},
    {"datasets": [{"name": "quickstart", "limit": 3, "category_column": "prompt_id"}]},
    {"strategies": ["zerothink"]},
    {"sampling": {"temperature": 0.7}},
    {"sampling": {"temperature": 0.6, "seed": 1}},
    {"samples": 2},
    {"judges": ["demo-guard"]},
    {"judges": ["llama-guard-3-8b", "refusal-match"]},
    {"judges": [{"name": "demo-guard", "engine": {"dtype": "bfloat16"}}, "refusal-match"]},
    {"parts": ["response", "answer"]},
]


@pytest.mark.parametrize("keys", CHANGES_NOTHING, ids=str)
def test_what_changes_no_result_leaves_the_run_the_same_run(keys: dict[str, Any]):
    assert resolved(**keys).identity() == resolved().identity()
    assert resolved(**keys).short_name() == resolved().short_name()


@pytest.mark.parametrize("keys", CHANGES_RESULTS, ids=str)
def test_what_changes_results_makes_another_run(keys: dict[str, Any]):
    assert resolved(**keys).identity() != resolved().identity()
    assert resolved(**keys).short_name() != resolved().short_name()


def test_the_order_of_a_strategys_options_leaves_the_run_the_same_with_the_same_samples():
    options = {"max_rounds": 3, "think_budget": 40}
    runs = [
        resolved(strategies=[{"name": "morethink", **dict(order)}])
        for order in (options.items(), reversed(options.items()))
    ]
    assert runs[0].identity() == runs[1].identity()
    assert {item.sample_id for item in runs[0].sample_specs} == {item.sample_id for item in runs[1].sample_specs}


def test_an_identity_is_the_same_after_it_was_stored():
    identity = resolved().identity()
    assert json.loads(json.dumps(identity)) == identity


def test_the_content_of_a_file_of_phrases_counts_and_its_place_does_not(tmp_path: Path):
    first, same, other = (tmp_path / name for name in ("first.txt", "same.txt", "other.txt"))
    first.write_text("Sorry\n")
    same.write_text("# the same\nSorry\n")
    other.write_text("Sorry\nI cannot\n")
    identities = [
        resolved(judges=[{"name": "refusal-match", "phrases": str(path)}]).identity() for path in (first, same, other)
    ]
    assert identities[0] == identities[1]
    assert identities[0] != identities[2]


def test_a_config_is_not_changed_by_resolving_it():
    before = config()
    resolve(before)
    assert before == config()


LOCAL = {"name": "openai-moderation", "endpoint": {"base_url": "http://127.0.0.1:1/v1", "api_key_env": "LOCAL_KEY"}}


def test_a_key_that_is_not_set_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    text = refusal(judges=["openai-moderation"])
    assert "The environment variable OPENAI_API_KEY is not set" in text
    assert "run `export OPENAI_API_KEY=...` before the command, or name another one with --set judges.N." in text


def test_an_endpoint_may_be_another_server_and_only_what_it_answers_belongs_to_the_identity(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("LOCAL_KEY", "sk-secret")
    run = resolved(judges=[LOCAL])
    assert run.identity()["judges"][0]["endpoint"] == {
        "base_url": "http://127.0.0.1:1/v1",
        "model": "omni-moderation-latest",
    }
    assert "sk-secret" not in repr(run) + json.dumps(run.identity())


def test_the_key_of_the_catalogs_server_is_not_sent_to_another_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    other = {"name": "openai-moderation", "endpoint": {"base_url": "http://127.0.0.1:1/v1"}}
    (judge,) = resolved(judges=[other]).judges
    assert judge.endpoint is not None
    assert judge.endpoint.api_key() is None
    preferring = JudgeConfig.model_validate(other | {"name": "prefer-gpt-4o"})
    endpoint = resolve_preference_judge(preferring).endpoint
    assert endpoint is not None
    assert endpoint.api_key() is None


def test_another_model_of_the_same_server_gets_its_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    (judge,) = resolved(judges=[{"name": "openai-moderation", "endpoint": {"model": "another"}}]).judges
    assert judge.endpoint is not None
    assert judge.endpoint.api_key() is not None


def test_a_server_that_wants_no_key_is_asked_without_one():
    endpoint = {"base_url": "http://127.0.0.1:1/v1", "api_key_env": ""}
    (judge,) = resolved(judges=[{"name": "openai-moderation", "endpoint": endpoint}]).judges
    assert judge.endpoint is not None
    assert judge.endpoint.api_key() is None


def test_an_endpoint_of_a_judge_without_one_is_refused():
    judge = {"name": "demo-guard", "endpoint": {"model": "m"}}
    assert "demo-guard has no endpoint to configure" in refusal(judges=[judge])


def test_votes_are_asked_like_judges_and_belong_to_the_identity():
    run = resolved(votes=[{"name": "either", "rule": "any"}], parts=["response", "answer"])
    assert run.asked[-2:] == (("either", "response"), ("either", "answer"))
    assert len(run.asked) == 6
    judges = ["demo-guard", "refusal-match"]
    assert run.identity()["votes"] == [{"name": "either", "rule": "any", "judges": judges}]
    assert "votes" not in resolved().identity()


def test_the_reading_of_a_judge_is_chosen_by_its_config_and_changes_the_identity():
    strict, loose = (resolve_judge(JudgeConfig(name="qwen3guard-gen-4b", reading=name)) for name in (None, "loose"))
    assert (strict.reading, loose.reading) == ("strict", "loose")
    assert judge_identity(strict) != judge_identity(loose)
    assert judge_identity(strict) == judge_identity(resolve_judge(JudgeConfig(name="qwen3guard-gen-4b")))
    with pytest.raises(InputError, match=r"wildguard has one reading.* Fix: leave reading out\."):
        resolve_judge(JudgeConfig(name="wildguard", reading="loose"))


def test_a_policy_of_a_file_replaces_the_entrys_and_is_part_of_the_identity(tmp_path: Path):
    (tmp_path / "policy.txt").write_text("No recipes.\n")
    config = JudgeConfig(name="gpt-oss-safeguard-20b", policy_file=str(tmp_path / "policy.txt"))
    judge = resolve_judge(config)
    assert (judge.policy, judge.policy_file) == ("No recipes.", None)
    assert judge_identity(judge)["policy"] == "No recipes."
    assert "prompt_source" not in judge_identity(judge)
    with pytest.raises(InputError, match=r"has no policy to replace\. Fix: leave policy_file out\."):
        resolve_judge(JudgeConfig(name="wildguard", policy_file="policy.txt"))
    with pytest.raises(InputError, match=r"can't be read: No such file.* Fix: give a UTF-8 text file"):
        resolve_judge(JudgeConfig(name="gpt-oss-safeguard-20b", policy_file=str(tmp_path / "none.txt")))


def test_special_tokens_as_text_are_refused_for_every_raw_prompt():
    for name in ("harmbench", "wildguard"):
        with pytest.raises(InputError, match="has a prompt of its own without a chat template"):
            resolve_judge(JudgeConfig(name=name, engine={"special_tokens": "text"}))
