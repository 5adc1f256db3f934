"""Training examples: token ids, and for each token how much its prediction counts in the loss."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from safechain_ray.model_files import render_chat
from tools.demo_models.corpus import Conversation
from tools.demo_models.guard_corpus import Judgement

CONVERSATION_MARK = "<BEGIN CONVERSATION>"
CONVERSATION_WEIGHT = 0.05


@dataclass(frozen=True, slots=True)
class Example:
    """`weights[i]` is the weight of predicting `ids[i]` from the text before it; both have one entry a token."""

    ids: list[int]
    weights: list[float]


def reasoner_prompt(tokenizer: PreTrainedTokenizerFast, text: str, system: str = "") -> str:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    return render_chat(tokenizer, messages)


def guard_prompt(tokenizer: PreTrainedTokenizerFast, prompt: str, response: str) -> str:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return render_chat(tokenizer, messages)


def reasoner_examples(
    tokenizer: PreTrainedTokenizerFast, items: Iterable[Conversation], opening: int | None = None
) -> Iterator[Example]:
    """Loss on what the model writes itself: not on the prompt, nor on what a strategy puts in its mouth.

    With `opening`, responses are cut after so many tokens of the model's own. Understanding the request shows there,
    and is what takes the most examples to learn.
    """
    for item in items:
        prompt = reasoner_prompt(tokenizer, item.request.text, item.request.system)
        text, spans = prompt, []
        for segment in item.segments:
            if segment.own:
                spans.append((len(text), len(text) + len(segment.text)))
            text += segment.text
        encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        own = [any(start <= at < end for start, end in spans) for at, _ in encoding.offsets]
        yield _cut(Example([*encoding.ids, tokenizer.eos_token_id], [*map(float, own), 1.0]), opening)


def _cut(example: Example, own_tokens: int | None) -> Example:
    if own_tokens is None:
        return example
    places = [place for place, weight in enumerate(example.weights) if weight > 0]
    end = places[min(own_tokens, len(places)) - 1] + 1
    return Example(example.ids[:end], example.weights[:end])


def guard_examples(
    tokenizer: PreTrainedTokenizerFast, items: Iterable[Judgement], with_policy: bool
) -> Iterator[Example]:
    """Loss on the verdict, and a little on the conversation, which teaches to read it.

    Without the policy text an example is a third as long: most of the training goes without, the last part with it.
    """
    for item in items:
        policy, mark, rest = guard_prompt(tokenizer, item.prompt, item.response).partition(CONVERSATION_MARK)
        policy = policy if with_policy else tokenizer.bos_token
        before = tokenizer.backend_tokenizer.encode(policy, add_special_tokens=False).ids
        conversation = tokenizer.backend_tokenizer.encode(mark + rest, add_special_tokens=False).ids
        verdict = tokenizer.backend_tokenizer.encode(item.output, add_special_tokens=False).ids
        yield Example(
            [*before, *conversation, *verdict, tokenizer.eos_token_id],
            [0.0] * len(before) + [CONVERSATION_WEIGHT] * len(conversation) + [1.0] * (len(verdict) + 1),
        )
