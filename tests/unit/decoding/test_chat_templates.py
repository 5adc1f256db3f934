"""The exact prompt that each strategy sends, from the chat template of each family to the tokens of the engine."""

import pytest
from transformers import PreTrainedTokenizerFast

from safechain_ray.catalog import families, models
from safechain_ray.decoding.base import STRATEGIES, Decoded, DecodingTask, strategy
from safechain_ray.types import Request, Sampling, StrategySpec
from tests.family_tokenizers import FIXTURES, R1_BOS, tokenizer_of
from tests.unit.decoding.scripted_generate import closes, decode, ends

R1_TURNS = R1_BOS + "<｜User｜>How?<｜Assistant｜>"
LESSTHINK = "Okay, the user ask for this, I can answer it without thinking much. "


def sent(fixture: str, name: str) -> tuple[Decoded, list[Request], PreTrainedTokenizerFast]:
    """What `name` sends for the request "How?": morethink forces one round."""
    family_name, template, bos = FIXTURES[fixture]
    family, tokenizer = families()[family_name], tokenizer_of(template, bos)
    turns = [{"role": turn.role, "content": turn.content} for turn in family.conversation("How?")]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    task = DecodingTask(prompt, family.tags, Sampling(), seed=None)
    options = {"max_rounds": 1} if name == "morethink" else STRATEGIES[name].example
    spec = StrategySpec(name=name, options=options)
    replies = [closes("Hm.\n", 2), closes(" no.\n", 2), ends("So.", 1)] if name == "morethink" else [ends("So.", 1)]
    return *decode(strategy(spec), task, *replies), tokenizer


@pytest.mark.parametrize("fixture", ["r1, older template", "r1, newer template"])
@pytest.mark.parametrize(
    ("name", "prefill"),
    [
        ("zerothink", "<think>\n\n</think>\n\n"),
        ("lessthink", f"<think>\n{LESSTHINK}\n</think>\n\n"),
        ("morethink", "<think>\n"),
    ],
)
def test_r1_gets_the_same_prompt_from_its_older_and_newer_template(fixture, name, prefill):
    decoded, requests, _ = sent(fixture, name)
    assert requests[0].prompt == R1_TURNS + prefill
    assert decoded.prefill == prefill


@pytest.mark.parametrize(("fixture", "opened"), [("r1, older template", ""), ("r1, newer template", "<think>\n")])
def test_default_leaves_r1s_prompt_to_its_template(fixture, opened):
    decoded, (request,), _ = sent(fixture, "default")
    assert request.prompt == R1_TURNS + opened
    assert decoded.prefill == opened


@pytest.mark.parametrize(
    ("name", "prefill"),
    [
        ("default", ""),
        ("zerothink", "<|begin_of_thought|>\n\n<|end_of_thought|>\n\n"),
        ("lessthink", f"<|begin_of_thought|>\n{LESSTHINK}\n<|end_of_thought|>\n\n"),
        ("morethink", "<|begin_of_thought|>\n"),
    ],
)
def test_sky_t1_gets_its_system_prompt_and_its_own_tags(name, prefill):
    decoded, requests, _ = sent("sky-t1", name)
    assert requests[0].prompt == (
        f"<|im_start|>system\n{families()['sky-t1'].system_prompt}<|im_end|>\n"
        f"<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n{prefill}"
    )
    assert decoded.prefill == prefill


def test_qwq_gets_its_system_prompt():
    _, (request,), _ = sent("qwq", "default")
    assert request.prompt == (
        "<|im_start|>system\nYou are a helpful and harmless assistant. You are Qwen developed by Alibaba. You should "
        "think step-by-step.<|im_end|>\n<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_skywork_gets_its_system_prompt_in_llamas_headers():
    _, (request,), _ = sent("skywork-o1", "default")
    assert request.prompt == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        f"Today Date: 26 Jul 2024\n\n{families()['skywork-o1'].system_prompt}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHow?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize(
    ("fixture", "name"),
    [
        (fixture, name)
        for fixture, (family, _, _) in FIXTURES.items()
        for name, entry in STRATEGIES.items()
        if entry.switch is None and (families()[family].tags is not None or not entry.needs_tags)
    ],
)
def test_tokens_hold_bos_once_the_opening_tag_once_and_the_prefill_intact(fixture, name):
    family_name, _, bos = FIXTURES[fixture]
    tags = families()[family_name].tags
    decoded, requests, tokenizer = sent(fixture, name)
    for request in requests:
        ids = tokenizer(request.prompt, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == request.prompt
        if bos is not None:
            assert [number == tokenizer.bos_token_id for number in ids] == [True] + [False] * (len(ids) - 1)
            assert tokenizer(request.prompt).input_ids[:2] == [tokenizer.bos_token_id] * 2  # what the flag is for
        if tags is not None:
            assistant = request.prompt.removeprefix(requests[0].prompt.removesuffix(decoded.prefill))
            assert assistant.startswith(decoded.prefill)
            assert assistant.count(tags.open) == (1 if decoded.prefill else 0)
    assert decoded.response.count(tags.open if tags else "<think>") == (1 if decoded.prefill else 0)


@pytest.mark.parametrize("template", ["r1-older", "r1-newer"])
def test_r1s_template_can_not_carry_a_prefill_as_assistant_text(template):
    """Why strategies append their prefill to the rendered prompt."""
    turns = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "<think>\n\n</think>\n\nSo."}]
    tokenizer = tokenizer_of(template, R1_BOS)
    assert "think" not in tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)


def test_the_base_model_is_sent_the_two_headings_of_the_published_code():
    tokenizer = tokenizer_of("llama-3.1", "<|begin_of_text|>")
    turns = [{"role": "user", "content": "How?"}]
    prompt = tokenizer.apply_chat_template(
        turns, chat_template=models()["Llama-3.1-70B"].chat_template, tokenize=False, add_generation_prompt=True
    )
    assert prompt == "<|begin_of_text|>## Instruction: How?\n## Response: "
