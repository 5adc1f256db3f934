"""Arguments of chat templates: who gives them, what a template makes of them, and settings that differ in them."""

from typing import Any

import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from safechain_ray.catalog import families
from safechain_ray.catalog.entries import Family
from safechain_ray.config import read_config
from safechain_ray.decoding.base import check_strategy, request_body, split_begun, template_arguments
from safechain_ray.errors import InputError
from safechain_ray.metrics.summary import SettingFacts, as_setting
from safechain_ray.model_files import ChatTemplateError, arguments_read, render_chat
from safechain_ray.report.labels import setting_label
from safechain_ray.runs.resolve_model import UNMARKED_OF_FAMILIES
from safechain_ray.types import Setting, StrategySpec, ThinkingTags

TAGS = ThinkingTags("<think>", "</think>")
HYBRID = Family(name="hybrid", tags=TAGS, template_kwargs={"keep": True, "enable_thinking": True})
TEMPLATE = (
    "{% set turns = messages %}{% for turn in turns %}[{{ turn.role }}]{{ turn.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
TURNS = [{"role": "user", "content": "How?"}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A real tokenizer whose template has a switch, as those of hybrid models."""
    backend = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", chat_template=TEMPLATE)


def config(**keys: Any) -> Any:
    tree = {"model": "R1-7B", "datasets": ["strongreject"], "judges": ["refusal-match"]}
    return read_config(None, tree | keys, ())


def settings(**keys: Any) -> tuple[Setting, ...]:
    return config(**keys).expand_settings({"strongreject": "strongreject"})


def test_arguments_of_the_setting_win_over_the_models_and_these_over_the_familys():
    spec = StrategySpec(template_kwargs={"enable_thinking": False})
    given = template_arguments(spec, HYBRID, {"keep": False, "enable_thinking": True, "effort": 1})
    assert given == {"keep": False, "enable_thinking": False, "effort": 1}
    assert template_arguments(StrategySpec(), HYBRID) == {"keep": True, "enable_thinking": True}


def test_a_real_template_opens_or_closes_the_thought_by_its_argument(tokenizer: Any):
    thinking = render_chat(tokenizer, TURNS, arguments={"enable_thinking": True})
    assert thinking == render_chat(tokenizer, TURNS) == "[user]How?[assistant]"
    closed = render_chat(tokenizer, TURNS, arguments={"enable_thinking": False})
    assert closed == "[user]How?[assistant]<think>\n\n</think>\n\n"
    assert split_begun(closed, TAGS) == ("[user]How?[assistant]", "<think>\n\n</think>\n\n")
    assert split_begun(thinking, TAGS) == (thinking, "")


def test_a_tag_that_the_user_writes_is_no_beginning_of_the_turn():
    assert split_begun("[user]<think></think>[assistant]", TAGS) == ("[user]<think></think>[assistant]", "")


def test_the_names_that_a_template_reads_are_known_without_those_that_it_sets(tokenizer: Any):
    assert arguments_read(tokenizer) == {"messages", "add_generation_prompt", "enable_thinking"}
    tagged = "{% for turn in messages %}{% generation %}{{ turn.content }}{% endgeneration %}{% break %}{% endfor %}"
    assert arguments_read(tokenizer, tagged) == {"messages"}
    with pytest.raises(ChatTemplateError):
        arguments_read(tokenizer, "{% if %}")


def test_thinking_on_and_off_are_two_settings_with_ids_and_labels_of_their_own():
    on, off = settings(vary={"template_kwargs": [{"enable_thinking": True}, {"enable_thinking": False}]})
    assert on.strategy.template_kwargs == {"enable_thinking": True}
    assert on.setting_id != off.setting_id
    assert setting_label(on) == "strongreject default enable_thinking=true greedy K=1"
    assert setting_label(off) == "strongreject default enable_thinking=false greedy K=1"


def test_a_strategy_has_arguments_beside_its_options_and_vary_adds_to_them():
    strategy = {"name": "morethink", "max_rounds": 2, "template_kwargs": {"a": 1, "b": 1}}
    (setting,) = settings(strategies=[strategy], vary={"template_kwargs": [{"b": 2}]})
    assert (setting.strategy.options, setting.strategy.template_kwargs) == ({"max_rounds": 2}, {"a": 1, "b": 2})


def test_the_effort_varies_as_an_argument_of_the_template_and_as_a_key_of_an_apis_request():
    low, high = settings(vary={"reasoning_effort": ["low", "high"]})
    assert setting_label(high) == "strongreject default reasoning_effort=high greedy K=1"
    plain = Family(name="plain")
    assert template_arguments(low.strategy, plain) == {"reasoning_effort": "low"}
    assert request_body(low.strategy, plain) == {"reasoning_effort": "low"}


def test_an_api_gets_other_arguments_under_the_key_of_vllm_and_a_body_of_its_own():
    spec = StrategySpec(template_kwargs={"enable_thinking": False}, extra_body={"thinking": {"type": "disabled"}})
    assert request_body(spec, Family(name="plain")) == {
        "chat_template_kwargs": {"enable_thinking": False},
        "thinking": {"type": "disabled"},
    }
    assert request_body(StrategySpec(), Family(name="plain")) == {}


def test_a_body_for_a_model_that_is_run_here_is_refused():
    with pytest.raises(InputError, match="Fix: use template_kwargs"):
        check_strategy(StrategySpec(extra_body={"a": 1}), families()["r1"])
    check_strategy(StrategySpec(extra_body={"a": 1}), families()["api"], takes_prefill=False)


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "tools"])
def test_inputs_that_the_engine_gives_are_no_arguments(name: str):
    with pytest.raises(ValidationError, match=f"{name} is given by the engine itself"):
        StrategySpec(template_kwargs={name: []})
    with pytest.raises(InputError, match=f"{name} is given by the engine itself"):
        settings(vary={"template_kwargs": [{name: []}]})


@pytest.mark.parametrize(
    ("vary", "says"),
    [
        ({"template_kwargs": [1]}, "template_kwargs takes a list of mappings"),
        ({"reasoning_effort": [1]}, "reasoning_effort takes a list of words"),
        ({"top_k": ["low"]}, "top_k takes a list of numbers"),
    ],
)
def test_values_of_another_kind_do_not_vary(vary: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        config(vary=vary)


def test_a_key_in_a_body_is_refused_because_it_would_be_recorded():
    with pytest.raises(InputError, match="looks like a key"):
        settings(vary={"extra_body": [{"token": "sk-canary-0123456789abcdef"}]})


def test_the_order_of_arguments_changes_no_identity():
    one, other = ({"a": {"x": 1, "y": 2}, "b": 1}, {"b": 1, "a": {"y": 2, "x": 1}})
    first, second = (Setting(dataset="d", strategy=StrategySpec(template_kwargs=each)) for each in (one, other))
    assert first.setting_id == second.setting_id


def test_a_setting_without_arguments_has_the_identity_of_earlier_versions():
    setting = Setting(dataset="d")
    assert setting.setting_id == "d-default-t0-k1-b3b656"
    assert setting.strategy.model_dump() == {"name": "default", "options": {}}
    marked = families()["r1"].model_dump(exclude=UNMARKED_OF_FAMILIES)
    assert marked.keys() == {"name", "tags", "system_prompt"}


def test_figures_keep_the_arguments_of_their_setting():
    strategy = StrategySpec(template_kwargs={"enable_thinking": False}, extra_body={"a": 1})
    setting = Setting(dataset="d", strategy=strategy)
    stored = SettingFacts.of(setting).model_dump_json()
    assert as_setting(SettingFacts.model_validate_json(stored)) == setting
    assert "template_kwargs" not in SettingFacts.of(Setting(dataset="d")).model_dump_json()
