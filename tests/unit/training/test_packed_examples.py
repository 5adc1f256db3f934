"""Packed examples don't attend to each other, also without Flash Attention."""

import datasets
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from safechain_ray.catalog import families
from safechain_ray.demo import model_path
from safechain_ray.training.chat import ChatFormat
from safechain_ray.training.tokens import IGNORED, TokenisedSet, tokenise
from safechain_ray.types import Demonstration

MAX_LENGTH = 96


@pytest.fixture(scope="module")
def tokens() -> TokenisedSet:
    tokenizer = AutoTokenizer.from_pretrained(model_path("demo-reasoner"))
    shown = [Demonstration(n, f"What is plan {n}?", "It could harm. " * (n % 4), "No.") for n in range(24)]
    return tokenise(shown, ChatFormat(tokenizer, families()["demo"]), MAX_LENGTH)


def test_packing_keeps_every_example_whole_with_its_labels(tokens: TokenisedSet):
    packed = pack_dataset(datasets.Dataset(tokens.table()), MAX_LENGTH, "bfd")
    pieces = []
    for row in packed:
        assert len(row["input_ids"]) <= MAX_LENGTH
        start = 0
        for length in row["seq_lengths"]:
            pieces.append((row["input_ids"][start : start + length], row["labels"][start : start + length]))
            start += length
    assert len(packed) < len(tokens.examples)
    assert sorted(pieces) == sorted((e.input_ids.tolist(), e.labels.tolist()) for e in tokens.examples)


def test_a_packed_example_has_the_logits_and_the_loss_that_it_has_alone(tokens: TokenisedSet):
    model = AutoModelForCausalLM.from_pretrained(model_path("demo-reasoner"), dtype=torch.float32)
    assert model.config._attn_implementation == "sdpa"
    collate = DataCollatorForLanguageModeling(pad_token_id=1, padding_free=True)
    packed = pack_dataset(datasets.Dataset(tokens.table()), MAX_LENGTH, "bfd")
    batch = collate([packed[0]])
    parts = batch["input_ids"][0].split(packed[0]["seq_lengths"])
    labels = batch["labels"][0].split(packed[0]["seq_lengths"])
    assert len(parts) > 1
    with torch.no_grad():
        together = model(**batch, use_cache=False)
        apart = torch.cat([model(input_ids=part[None]).logits[0] for part in parts])
        crossed = model(input_ids=batch["input_ids"]).logits[0]
    torch.testing.assert_close(together.logits[0], apart, atol=1e-4, rtol=1e-4)
    assert (crossed - apart).abs().max() > 0.1  # what it would be if they saw each other
    predicted = torch.cat([logits[:-1] for logits in apart.split(packed[0]["seq_lengths"])])
    wanted = torch.cat([label[1:] for label in labels])
    expected = torch.nn.functional.cross_entropy(predicted, wanted, ignore_index=IGNORED)
    torch.testing.assert_close(together.loss, expected, atol=1e-4, rtol=1e-4)
