"""Sampling from a demo model with transformers, for trials and tests; runs use vLLM."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Draw:
    """`max_tokens` bounds one completion; temperature 0 is greedy."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    batch_size: int = 64


@dataclass(frozen=True, slots=True)
class Text:
    """What was generated, without the token that ended it; `end` is that token, None where the tokens ran out."""

    text: str
    end: str | None


def complete(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    draw: Draw,
    stop: tuple[str, ...] = (),
) -> list[Text]:
    """What follows each prompt (whose text writes BOS out). `stop` holds tokens that end a completion as EOS does."""
    ends = {tokenizer.convert_tokens_to_ids(token): token for token in (tokenizer.eos_token, *stop)}
    sampled = {"do_sample": True, "temperature": draw.temperature, "top_p": draw.top_p, "top_k": 0}
    greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    results: list[Text] = []
    for start in range(0, len(prompts), draw.batch_size):
        batch = list(prompts[start : start + draw.batch_size])
        inputs = tokenizer(batch, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            output = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=draw.max_tokens,
                eos_token_id=list(ends),
                pad_token_id=tokenizer.pad_token_id,
                **(sampled if draw.temperature > 0 else greedy),
            )
        for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
            at = next((place for place, token in enumerate(ids) if token in ends), None)
            text = tokenizer.decode(ids[:at], skip_special_tokens=True)
            results.append(Text(text, None if at is None else ends[ids[at]]))
    return results
