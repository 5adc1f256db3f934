"""Our split of a response by tags, held against vLLM's own reasoning parsers, with every difference listed."""

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from safechain_ray.catalog import families
from safechain_ray.commands.doctor.thinking import parsers_of_vllm
from safechain_ray.decoding.response import split_response
from safechain_ray.types import ThinkingTags

WITH_PARSER = {name: family for name, family in families().items() if family.reasoning_parser is not None}

TOKENS = (  # that vLLM's parsers look up in the vocabulary
    *("<tool_call>", "</tool_call>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|tool_call>", "<tool_call|>", "<|channel>", "<|turn>"),
    *("<|tool_response>", "<seed:tool_call>", "</seed:tool_call>", "<|im_start|>", "<|im_end|>"),
)
OLMO_PIECES = ("Ġ</", "</", "think")

# Differences by kind of text. Why:
# untagged: vLLM's parsers start inside the thought. We have the tag that a template writes in the prefill.
# named in the answer, in prose: a text about tags. vLLM drops the tag, or reads what follows as a thought.
# unclosed: Olmo's parser reads a cut thought, its tag included, as an answer.
# closed twice: R1's and Olmo's parsers leave the second tag in the answer.
# opened by the template: Mistral's and Gemma's templates never do this.
NAMED = {"named in the answer", "in prose", "a pair in prose"}
INSIDE = {"untagged", *NAMED}
DIFFERENCES = {
    "r1": {"untagged", "closed twice", "in prose", "a pair in prose"},
    "qwen3": INSIDE,
    "qwen3-thinking": INSIDE,
    "olmo3": {"unclosed", "closed twice", "in prose", "a pair in prose"},
    "nemotron3": INSIDE,
    "mistral-think": {"opened by the template", "opened in the answer", *NAMED},
    "seed-oss": INSIDE,
    "gemma4": {"opened in the answer", *NAMED},
    "glm": {"opened in the answer", *INSIDE},
    "deepseek-v4": {"opened in the answer", *INSIDE},
    "kimi-k2": INSIDE,
}


def texts(tags: ThinkingTags) -> dict[str, str]:
    thought, end = f"{tags.open}\nA.\n", tags.close
    return {
        "closed": f"{thought}{end}\n\nB.",
        "unclosed": thought,
        "empty": f"{tags.open}\n\n{end}\n\nB.",
        "untagged": "B.",
        "opened by the template": f"\nA.\n{end}\n\nB.",
        "closed twice": f"{thought}{end}\n{end}\n\nB.",
        "named in the answer": f"{thought}{end}\n\nThe tag {end} ends it.",
        "opened in the answer": f"{thought}{end}\n\nThe tag {tags.open} starts.",
        "in prose": f"The tag {end} is XML.",
        "a pair in prose": f"Sure: {tags.open}x{end} is a pair.",
    }


def tokenizer_with(*tokens: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in which each of `tokens` is one token."""
    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *OLMO_PIECES]
    backend = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(symbols)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(token, normalized=False) for token in tokens])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", chat_template="-")


def split_by_vllm(parser: str, tags: ThinkingTags, text: str) -> tuple[str, str]:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.reasoning import ReasoningParserManager

    thinking: dict[str, Any] = {"chat_template_kwargs": {"thinking": True, "enable_thinking": True}}
    own = () if parser == "olmo3" else (tags.open, tags.close)
    kind = ReasoningParserManager.get_reasoning_parser(parser)
    request = ChatCompletionRequest(messages=[{"role": "user", "content": "Hi"}], model="m", **thinking)
    thought, answer = kind(tokenizer_with(*own, *TOKENS), **thinking).extract_reasoning(text, request)
    return (thought or "").strip("\n"), (answer or "").strip("\n")


def test_every_named_parser_is_one_of_the_installed_vllm() -> None:
    known = parsers_of_vllm()
    if known is None:
        pytest.skip("vLLM is not installed")
    assert {family.reasoning_parser for family in WITH_PARSER.values()} - known == set()


def test_each_family_with_a_parser_has_its_differences_listed() -> None:
    assert WITH_PARSER.keys() == DIFFERENCES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_PARSER)
def test_tags_and_vllms_parser_differ_where_it_is_listed_and_nowhere_else(name: str) -> None:
    pytest.importorskip("vllm.reasoning")
    family = WITH_PARSER[name]
    assert family.tags is not None
    assert family.reasoning_parser is not None
    found = set()
    for kind, text in texts(family.tags).items():
        ours = split_response(text, family.tags)
        if split_by_vllm(family.reasoning_parser, family.tags, text) != (ours.thought, ours.answer):
            found.add(kind)
    assert found == DIFFERENCES[name]


def test_harmony_is_split_at_its_channels() -> None:
    """vLLM's parser of gpt-oss finds the end of a thought only, and splits none."""
    tags = families()["gpt-oss"].tags
    final = "<|start|>assistant<|channel|>final<|message|>"
    closed = split_response(f"<|channel|>analysis<|message|>Hm.<|end|>{final}Hi.", tags)
    assert (closed.thought, closed.answer, closed.closed) == ("Hm.", "Hi.", True)
    cut = split_response("<|channel|>analysis<|message|>Hm.", tags)
    assert (cut.thought, cut.answer, cut.closed) == ("Hm.", "", False)
    direct = split_response("<|channel|>final<|message|>Hi.", tags)
    assert (direct.thought, direct.answer, direct.closed) == ("", "Hi.", True)
    more = "<|end|><|start|>assistant<|channel|>commentary<|message|>Plan."
    assert split_response(f"<|channel|>analysis<|message|>Hm.{more}<|end|>{final}Hi.", tags).answer == "Hi."
