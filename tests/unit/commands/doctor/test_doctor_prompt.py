"""The doctor on prompts: sound templates of every family, and what is said of broken ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from safechain_ray.catalog import families, judges, models
from safechain_ray.commands.doctor import Finding, Subject, thinking
from safechain_ray.commands.doctor.judge import check_judge_prompt, check_room, template_tokens
from safechain_ray.commands.doctor.model import check_model_prompt
from safechain_ray.commands.doctor.thinking import check_parser
from safechain_ray.engines.weights import weights_location
from safechain_ray.types import ThinkingTags
from tests.family_tokenizers import FIXTURES, R1_BOS, tokenizer_of

SUBJECT = Subject("model")
PREFILLED = ("default", "zerothink", "lessthink", "morethink", "budget", "safepath", "thinking-intervention")
"""The strategies that a family with tags and without a switch can follow."""
OWN_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
    "{% else %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
"""R1's: strips the thought of assistant turns."""


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., Any]:
    """The tokenizer of a copy of demo-reasoner, with another chat template or its tags as special tokens."""

    def made(template: str | None = None, tags_special: bool = False) -> Any:
        folder = tmp_path / "copy"
        shutil.copytree(weights_location("package://demo-reasoner"), folder)
        if template is not None:
            config = json.loads((folder / "tokenizer_config.json").read_text())
            (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
        if tags_special:
            tokenizer = json.loads((folder / "tokenizer.json").read_text())
            for token in tokenizer["added_tokens"]:
                token["special"] = True
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        return AutoTokenizer.from_pretrained(folder)

    return made


def examined(
    tokenizer: Any, family: str = "demo", chat_template: str | None = None, **arguments: Any
) -> dict[str, Finding]:
    findings = check_model_prompt(SUBJECT, tokenizer, families()[family], chat_template, **arguments)
    return {finding.check: finding for finding in findings}


def complaints(findings: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.status for check, finding in findings.items() if finding.status != "ok"}


@pytest.mark.parametrize("fixture", FIXTURES)
def test_nothing_is_wrong_with_the_templates_of_the_families(fixture: str):
    family, template, bos = FIXTURES[fixture]
    assert complaints(examined(tokenizer_of(template, bos), family)) == {}


def test_arguments_that_the_template_never_reads_are_reported(broken: Callable[..., Any]):
    switch = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% endif %}"
    tokenizer = broken(OWN_TEMPLATE + switch)
    assert "template arguments" not in examined(tokenizer)
    known = examined(tokenizer, template_kwargs={"enable_thinking": False})
    assert known["template arguments"].detail == "the chat template reads enable_thinking"
    assert known["prefill of default"].detail == "the template opens and closes <think> itself"
    unknown = examined(tokenizer, template_kwargs={"enable_thinkin": False})["template arguments"]
    assert (unknown.status, unknown.detail) == ("failed", "the chat template never reads enable_thinkin")


def test_tags_that_are_special_tokens_are_fine_for_a_family_that_keeps_them(broken: Callable[..., Any]):
    tokenizer, family = broken(tags_special=True), families()["demo"]
    assert examined(tokenizer)["thinking tags"].status == "failed"
    keeping = family.model_copy(update={"skip_special_tokens": False})
    findings = check_model_prompt(SUBJECT, tokenizer, keeping, None)
    assert {finding.check: finding.status for finding in findings}["thinking tags"] == "ok"


def test_nothing_is_wrong_with_the_demo_model(broken: Callable[..., Any]):
    findings = examined(broken())
    assert complaints(findings) == {}
    assert findings["prefill of default"].detail == "the template opens <think> itself"
    assert [check for check in findings if check.startswith("prefill")] == [f"prefill of {name}" for name in PREFILLED]


def test_nothing_is_wrong_with_a_base_model_and_the_template_of_its_entry():
    tokenizer = tokenizer_of("llama-3.1", "<|begin_of_text|>")
    tokenizer.chat_template = None
    assert examined(tokenizer, "llama-base")["chat template"].detail == "the tokenizer has none"
    assert complaints(examined(tokenizer, "llama-base", models()["Llama-3.1-70B"].chat_template)) == {}


def test_a_template_that_strips_assistant_text_still_lets_strategies_prefill(broken: Callable[..., Any]):
    findings = examined(broken(OWN_TEMPLATE))
    assert complaints(findings) == {}
    assert findings["prefill of default"].detail == "none"


def test_two_beginnings_of_a_sequence_are_found(broken: Callable[..., Any]):
    finding = examined(broken("{{ bos_token }}" + OWN_TEMPLATE))["BOS"]
    assert (finding.status, finding.fix) == ("failed", "write bos_token once in the template")
    assert finding.detail == f"{R1_BOS} appears in the prompt 2 times"


@pytest.mark.parametrize(
    ("start", "says"), [("", "the template writes none"), ("Hello. {{ bos_token }}", "is not first")]
)
def test_a_beginning_of_sequence_that_is_missing_or_late_is_found(broken: Callable[..., Any], start: str, says: str):
    finding = examined(broken(OWN_TEMPLATE.replace("{{ bos_token }}", start)))["BOS"]
    assert finding.status == "failed"
    assert says in finding.detail


def test_a_thought_that_the_template_opens_and_goes_on_with_is_found_at_every_strategy(broken: Callable[..., Any]):
    opened = OWN_TEMPLATE.replace("<｜Assistant｜>{% endif %}", "<｜Assistant｜><think>\nLet me see. {% endif %}")
    findings = examined(broken(opened))
    assert complaints(findings) == {f"prefill of {name}": "failed" for name in PREFILLED}
    assert "<think> appears 2 times in the assistant's turn, not 1" in findings["prefill of zerothink"].detail


def test_a_tag_that_is_not_in_the_vocabulary_is_doubtful_and_a_special_one_fails(broken: Callable[..., Any]):
    plain = AutoTokenizer.from_pretrained(weights_location("package://demo-guard"))
    assert complaints(examined(plain, chat_template=OWN_TEMPLATE)) == {"thinking tags": "warning"}
    finding = examined(broken(tags_special=True))["thinking tags"]
    assert finding.status == "failed"
    assert "<think>, </think> is a special token, which the engine leaves out" in finding.detail


def test_a_system_prompt_that_the_template_drops_is_found():
    tokenizer = tokenizer_of("qwen2.5", None)
    tokenizer.chat_template = "{{ messages[-1].content }}<|im_start|>assistant\n"
    assert complaints(examined(tokenizer, "qwq")) == {"system prompt": "failed"}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for m in messages %}", "it does not render"),
        ("{{ raise_exception('no system turn\x1b[2J') }}", "no system turn"),
        ("Assistant:", "the request appears 0 times in the prompt"),
    ],
)
def test_a_template_that_does_not_render_or_drops_the_request_is_found(
    broken: Callable[..., Any], template: str, says: str
):
    finding = examined(broken(template))["chat template"]
    assert finding.status == "failed"
    assert says in finding.detail


def test_a_template_that_does_not_open_the_assistants_turn_is_doubtful(broken: Callable[..., Any]):
    template = "{{ bos_token }}{{ messages[-1].content }}"
    assert examined(broken(template))["chat template"].status == "warning"


def test_a_judges_template_has_to_hold_thought_and_answer_whole(broken: Callable[..., Any]):
    guard = AutoTokenizer.from_pretrained(weights_location("package://demo-guard"))
    entry = judges()["demo-guard"]
    assert {finding.status for finding in check_judge_prompt(SUBJECT, guard, entry)} == {"ok"}
    stripping, _ = check_judge_prompt(SUBJECT, broken(OWN_TEMPLATE), entry)
    assert (stripping.status, stripping.detail) == ("failed", "it drops the thought")


def test_a_guard_of_a_form_is_checked_with_its_own_request(broken: Callable[..., Any]):
    """Its marks keep the thought in a template that would drop it; a raw prompt needs no template."""
    tokenizer = broken(OWN_TEMPLATE)
    for name, check in (("qwen3guard-gen-4b", "chat template"), ("wildguard", "request")):
        conversation, *_ = check_judge_prompt(SUBJECT, tokenizer, judges()[name])
        assert (conversation.check, conversation.status) == (check, "ok")
    raw, template = (template_tokens(tokenizer, judges()[name]) for name in ("wildguard", "demo-guard"))
    assert raw > template


@pytest.mark.parametrize(
    ("max_tokens", "own_tokens", "status"), [(16_000, 200, "ok"), (16_000, None, "ok"), (40_000, 200, "warning")]
)
def test_a_response_that_is_longer_than_the_judge_can_read_is_doubtful(
    max_tokens: int, own_tokens: int | None, status: str
):
    model = models()["R1-7B"]
    assert check_room(SUBJECT, model, model, max_tokens, own_tokens).status == status


@pytest.mark.parametrize(
    ("context", "longest", "fix"),
    [
        (8192, 131_072, "set judges.1.engine.context_length to 16220 or more (the model has 131,072), or lower"),
        (8192, None, "set judges.1.engine.context_length to 16220 or more, or lower max_tokens to 7,972 or less"),
        (8192, 8192, "lower max_tokens to 7,972 or less"),
        (4096, 8192, "lower max_tokens to 3,876 or less"),
        (220, 220, "name a judge with a longer context"),
    ],
)
def test_the_fix_for_a_judges_context_is_one_that_its_model_allows(context: int, longest: int | None, fix: str):
    model = models()["R1-7B"]
    judge = model.model_copy(update={"context_length": context})
    found = check_room(Subject("guard", "judges.1"), model, judge, 16_000, 200, longest)
    assert (found.fix or "").startswith(fix)


def test_a_switch_or_an_effort_that_changes_nothing_is_reported(broken: Callable[..., Any]):
    template = OWN_TEMPLATE + "{% if enable_thinking is defined and reasoning_effort == 'low' %}{% endif %}"
    hybrid = families()["demo"].model_copy(update={"no_think": {"enable_thinking": False}, "efforts": ("low", "high")})
    found = {each.check: each for each in check_model_prompt(SUBJECT, broken(template), hybrid, None)}
    assert found["template arguments"].status == "ok"  # the names are read, the values change nothing
    assert found["switch"].detail == "the chat template writes one prompt for with the thought and without it"
    assert (found["efforts"].status, found["efforts"].fix) == (
        "failed",
        "correct efforts of the family, or the model's family",
    )


def test_an_effort_that_the_template_refuses_is_a_finding(broken: Callable[..., Any]):
    template = OWN_TEMPLATE + "{% if reasoning_effort == 'max' %}{{ raise_exception('no max') }}{% endif %}"
    family = families()["demo"].model_copy(update={"efforts": ("low", "max")})
    found = {each.check: each for each in check_model_prompt(SUBJECT, broken(template), family, None)}
    assert found["efforts"].detail == "the chat template does not render max: no max"


def test_bos_may_begin_each_turn_after_the_end_of_the_one_before():
    tokenizer = tokenizer_of("r1-older", R1_BOS)
    tokenizer.eos_token = "</think>"  # any token that the tokenizer has
    family = families()["llama-instruct"]
    for between, status in (("</think>", "ok"), ("\n", "failed")):
        template = "{{ bos_token }}{{ messages[-1].content }}" + between + "{{ bos_token }}assistant"
        found = {each.check: each for each in check_model_prompt(SUBJECT, tokenizer, family, template)}
        assert found["BOS"].status == status


def test_white_space_before_bos_is_a_warning_and_text_a_failure():
    tokenizer, family = tokenizer_of("r1-older", R1_BOS), families()["llama-instruct"]
    for before, status in ((" ", "warning"), ("System: ", "failed")):
        template = before + "{{ bos_token }}{{ messages[-1].content }}\nassistant"
        found = {each.check: each for each in check_model_prompt(SUBJECT, tokenizer, family, template)}
        assert found["BOS"].status == status


def test_tags_that_are_ordinary_text_are_fine_for_a_family_that_says_so():
    tokenizer = tokenizer_of("qwen2.5", None)
    family = families()["olmo3"].model_copy(update={"tags": ThinkingTags("<think>", "</thinking>")})
    found = {each.check: each for each in check_model_prompt(SUBJECT, tokenizer, family, None)}
    assert found["thinking tags"].status == "ok"
    family = family.model_copy(update={"tags_are_text": False})
    found = {each.check: each for each in check_model_prompt(SUBJECT, tokenizer, family, None)}
    assert found["thinking tags"].status == "warning"


def test_a_parser_that_vllm_does_not_have_is_reported(monkeypatch: pytest.MonkeyPatch):
    family = families()["qwen3"]
    lost = family.model_copy(update={"reasoning_parser": "qwen99"})
    monkeypatch.setattr(thinking, "parsers_of_vllm", lambda: frozenset({"qwen3"}))
    assert [each.status for each in check_parser(SUBJECT, family)] == ["ok"]
    assert [each.detail for each in check_parser(SUBJECT, lost)] == ["vLLM has no parser qwen99"]
    assert list(check_parser(SUBJECT, families()["demo"])) == []
    monkeypatch.setattr(thinking, "parsers_of_vllm", lambda: None)
    assert [each.status for each in check_parser(SUBJECT, family)] == ["not checked"]


def test_a_judge_whose_messages_are_lists_is_checked_in_that_form(broken: Callable[..., Any]):
    template = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}assistant"
    judge = judges()["demo-guard"]
    engine = judge.engine.model_copy(update={"message_content": "list"})
    found = list(check_judge_prompt(SUBJECT, broken(template), judge.model_copy(update={"engine": engine})))
    assert found[0].detail == "holds request, thought and answer whole"
