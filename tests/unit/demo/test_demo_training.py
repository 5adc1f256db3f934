"""Training examples and the training loop of the demo models."""

from random import Random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tools.demo_models.corpus import conversations
from tools.demo_models.examples import Example, guard_examples, reasoner_examples
from tools.demo_models.guard_corpus import judgements
from tools.demo_models.tokenizer import guard_tokenizer, reasoner_tokenizer
from tools.demo_models.training import Options, length_buckets, tiny_llama, train

CONVERSATIONS = list(conversations(seed=1, count=300))
JUDGEMENTS = list(judgements(seed=1, count=100))


@pytest.fixture(scope="module")
def reasoner() -> PreTrainedTokenizerFast:
    return reasoner_tokenizer(f"{item.request.text}\n{item.response}" for item in CONVERSATIONS)


@pytest.fixture(scope="module")
def guard() -> PreTrainedTokenizerFast:
    return guard_tokenizer(f"{item.prompt}\n{item.response}{item.output}" for item in JUDGEMENTS)


def learnt(tokenizer: PreTrainedTokenizerFast, example: Example) -> str:
    return tokenizer.decode([token for token, weight in zip(example.ids, example.weights, strict=True) if weight == 1])


def test_the_reasoner_learns_what_it_writes_itself_and_its_end(reasoner: PreTrainedTokenizerFast) -> None:
    for item, example in zip(CONVERSATIONS, reasoner_examples(reasoner, CONVERSATIONS), strict=True):
        assert reasoner.decode(example.ids).endswith(item.segments[-1].text + reasoner.eos_token)
        assert example.ids.count(reasoner.bos_token_id) == 1
        if item.form in ("zerothink", "lessthink"):
            assert learnt(reasoner, example) == item.answer + reasoner.eos_token
        if item.form == "default":
            assert learnt(reasoner, example) == item.response.removeprefix("<think>\n") + reasoner.eos_token


def test_an_opening_holds_so_many_tokens_of_the_reasoners_own_and_nothing_after(
    reasoner: PreTrainedTokenizerFast,
) -> None:
    whole = reasoner_examples(reasoner, CONVERSATIONS)
    for full, cut in zip(whole, reasoner_examples(reasoner, CONVERSATIONS, opening=5), strict=True):
        assert sum(cut.weights) == 5
        assert cut.weights[-1] == 1
        assert full.ids[: len(cut.ids)] == cut.ids


def test_the_guard_learns_its_verdict_with_and_without_the_policy(guard: PreTrainedTokenizerFast) -> None:
    whole = list(guard_examples(guard, JUDGEMENTS, with_policy=True))
    short = list(guard_examples(guard, JUDGEMENTS, with_policy=False))
    for item, long, brief in zip(JUDGEMENTS, whole, short, strict=True):
        assert learnt(guard, long) == learnt(guard, brief) == item.output + guard.eos_token
        assert len(brief.ids) < len(long.ids)


def test_a_category_code_is_one_token_only_as_a_word_of_its_own(guard: PreTrainedTokenizerFast) -> None:
    assert guard.tokenize("\n\nunsafe\nS12") == ["ĊĊ", "unsafe", "Ċ", "S12"]
    assert "S1" not in guard.tokenize("AS12 S123")


def test_buckets_hold_every_example_once_within_the_token_limit(reasoner: PreTrainedTokenizerFast) -> None:
    examples = list(reasoner_examples(reasoner, CONVERSATIONS))
    batches = length_buckets(examples, tokens_a_batch=2048, rng=Random(0))
    assert all(len(batch) * max(len(example.ids) for example in batch) <= 2048 for batch in batches)
    assert sorted(id(example) for batch in batches for example in batch) == sorted(map(id, examples))


def test_a_few_steps_lower_the_loss(reasoner: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = tiny_llama(reasoner, width=64, layers=2)
    sentences: list[str] = []
    examples = list(reasoner_examples(reasoner, CONVERSATIONS))
    outcome = train(model, examples, Options(tokens_a_batch=1024, learning_rate=1e-2), sentences.append)
    assert outcome.last_loss < outcome.first_loss - 2
    assert outcome.tokens == sum(len(example.ids) for example in examples)
    assert sentences
