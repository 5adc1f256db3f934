"""A training loop for tiny causal language models on CPUs: AdamW, cosine schedule, batches of similar lengths."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from time import perf_counter

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.demo_models.examples import Example
from tools.demo_models.tokenizer import CONTEXT


@dataclass(frozen=True, slots=True)
class Options:
    """`tokens_a_batch` counts padding; `learning_rate` is a peak after `warmup` of all steps; `floor` of it stays."""

    learning_rate: float = 3e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    tokens_a_batch: int = 3072
    floor: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Losses are means over the first and the last tenth of the steps, in nats a token."""

    steps: int
    tokens: int
    seconds: float
    first_loss: float
    last_loss: float


def tiny_llama(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> LlamaForCausalLM:
    """A Llama with heads of 32 dimensions and tied embeddings, its weights drawn from torch's current seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM, examples: Sequence[Example], options: Options, report: Callable[[str], None]
) -> Outcome:
    """Train `model` in place on `examples`; `report` receives a sentence of progress about twenty times."""
    batches = length_buckets(examples, options.tokens_a_batch, Random(options.seed))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, betas=(0.9, 0.95), weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / len(batches), options))
    losses: list[float] = []
    tokens = 0
    started = perf_counter()
    model.train()
    for step, batch in enumerate(batches, 1):
        loss = batch_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens += sum(len(example.ids) for example in batch)
        if step % max(1, len(batches) // 20) == 0:
            seconds = perf_counter() - started
            recent = losses[-max(1, len(batches) // 20) :]
            mean = sum(recent) / len(recent)
            report(
                f"Step {step} of {len(batches)}: loss {mean:.3f}, {tokens / seconds:,.0f} tokens/s, {seconds:.0f} s."
            )
    model.eval()
    tenth = max(1, len(losses) // 10)
    return Outcome(
        steps=len(batches),
        tokens=tokens,
        seconds=perf_counter() - started,
        first_loss=sum(losses[:tenth]) / tenth,
        last_loss=sum(losses[-tenth:]) / tenth,
    )


def length_buckets(examples: Sequence[Example], tokens_a_batch: int, rng: Random) -> list[list[Example]]:
    """Batches of examples of similar lengths, at most `tokens_a_batch` with padding, in random order."""
    shuffled = list(examples)
    rng.shuffle(shuffled)
    batches: list[list[Example]] = [[]]
    for example in sorted(shuffled, key=lambda example: len(example.ids)):
        if (len(batches[-1]) + 1) * len(example.ids) > tokens_a_batch:
            batches.append([])
        batches[-1].append(example)
    rng.shuffle(batches)
    return [batch for batch in batches if batch]


def batch_loss(model: LlamaForCausalLM, batch: Sequence[Example]) -> torch.Tensor:
    """Weighted mean cross-entropy. Padding is on the right, where causal attention never looks: no mask."""
    length = max(len(example.ids) for example in batch)
    ids = torch.tensor([_padded(example.ids, length, 0) for example in batch])
    weights = torch.tensor([_padded(example.weights, length, 0.0) for example in batch])
    hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
    counted = weights[:, 1:] > 0
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[counted]), ids[:, 1:][counted], reduction="none")
    counts = weights[:, 1:][counted]
    return (losses * counts).sum() / counts.sum()


def _padded(values: list[int] | list[float], length: int, filler: float) -> list[int | float]:
    return [*values, *[filler] * (length - len(values))]


def _rate(progress: float, options: Options) -> float:
    if progress < options.warmup:
        return progress / options.warmup
    cosine = 0.5 * (1 + math.cos(math.pi * (progress - options.warmup) / (1 - options.warmup)))
    return options.floor + (1 - options.floor) * cosine
