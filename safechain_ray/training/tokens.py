"""Tokenised training examples: prompt without loss, then thought, answer and end of turn with loss."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from safechain_ray.errors import InputError
from safechain_ray.training.chat import ChatFormat
from safechain_ray.types import Demonstration, short_hash

IGNORED = -100
"""Label of a token without loss, in torch's cross entropy and in transformers."""

DEMONSTRATIONS_AT_ONCE = 256
"""Batch size of the tokenizer, which encodes a batch on all cores."""


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of prompt, response and end of turn. Tokens from `response_start` on have loss."""

    row: int
    input_ids: npt.NDArray[np.int32]
    response_start: int

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The ids with loss, `IGNORED` elsewhere, not shifted: transformers shifts them."""
        labels = self.input_ids.copy()
        labels[: self.response_start] = IGNORED
        return labels


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Counts of examples and of left-out demonstrations. Token counts are those of the examples."""

    examples: int
    too_long: int
    left_out: Mapping[str, int]
    prompt_tokens: int
    response_tokens: int
    longest: int

    @property
    def sentence(self) -> str:
        """The counts as a sentence that also lists every left-out demonstration by its reason."""
        tokens = f"{self.response_tokens:,} tokens with loss, {self.prompt_tokens:,} of prompts without"
        reasons = [f"{self.too_long:,} too long"] if self.too_long else []
        reasons += [f"{count:,} in which {problem}" for problem, count in self.left_out.items()]
        return f"{self.examples:,} examples ({tokens}); left out: {', '.join(reasons) or 'none'}."


@dataclass(frozen=True, slots=True)
class TokenisedSet:
    """Examples in the order of their demonstrations, at most `max_length` tokens each."""

    examples: tuple[Example, ...]
    max_length: int
    counts: TokenCounts

    def table(self) -> pa.Table:
        """A table with the columns `input_ids` and `labels` (lists of int32), as trainers read it."""
        return pa.table(
            {
                "input_ids": _lists([example.input_ids for example in self.examples]),
                "labels": _lists([example.labels for example in self.examples]),
            }
        )


def tokenise(demonstrations: Sequence[Demonstration], chat: ChatFormat, max_length: int) -> TokenisedSet:
    """Tokenise `demonstrations` and leave out those longer than `max_length` tokens.

    A truncated example would teach a thought that never closes and a turn that never ends. Responses that contain a
    special token are left out too: the token would end the turn early or begin another one.

    Raises:
        InputError: no example is left.
    """
    examples: list[Example] = []
    left_out: Counter[str] = Counter()
    lengths: list[int] = []
    for each in examples_of(demonstrations, chat):
        if isinstance(each, str):
            left_out[each] += 1
            continue
        lengths.append(len(each.input_ids))
        if len(each.input_ids) <= max_length:
            examples.append(each)
    if not examples:
        shortest = f"the shortest takes {min(lengths):,}" if lengths else f"reasons: {', '.join(left_out) or 'no rows'}"
        raise InputError(
            f"None of {len(demonstrations):,} demonstrations can be learnt from with max_length {max_length:,} tokens: "
            f"{shortest}. Fix: raise max_length, or correct the data."
        )
    prompt_tokens = sum(example.response_start for example in examples)
    all_tokens = sum(len(example.input_ids) for example in examples)
    counts = TokenCounts(
        examples=len(examples),
        too_long=len(lengths) - len(examples),
        left_out=dict(left_out.most_common()),
        prompt_tokens=prompt_tokens,
        response_tokens=all_tokens - prompt_tokens,
        longest=max(len(example.input_ids) for example in examples),
    )
    return TokenisedSet(tuple(examples), max_length, counts)


def examples_of(demonstrations: Sequence[Demonstration], chat: ChatFormat) -> Iterator[Example | str]:
    """Yield an `Example` for each demonstration in order, or the reason if its response contains a special token.

    Prompt, opening tag and the rest are encoded separately, as in evaluation: an engine encodes the prompt, with or
    without the tag, and the model continues from there.
    """
    tokenizer = chat.tokenizer
    special = np.array(sorted(set(tokenizer.all_special_ids) - _tag_ids(chat)), dtype=np.int32)
    end = [tokenizer.eos_token_id]
    openings: dict[str, list[int]] = {"": []}
    for start in range(0, len(demonstrations), DEMONSTRATIONS_AT_ONCE):
        batch = demonstrations[start : start + DEMONSTRATIONS_AT_ONCE]
        texts = [chat.text(demonstration) for demonstration in batch]
        for opening in {text.opening for text in texts} - openings.keys():
            openings[opening] = chat.encode([opening])[0]
        prompts = chat.encode([text.prompt for text in texts])
        rests = chat.encode([text.rest for text in texts])
        for demonstration, text, prompt, rest in zip(batch, texts, prompts, rests, strict=True):
            stray = np.intersect1d(np.asarray(rest, dtype=np.int32), special)
            if stray.size:
                yield f"the response holds the special token {tokenizer.convert_ids_to_tokens(int(stray[0]))}"
                continue
            ids = np.fromiter(chain(prompt, openings[text.opening], rest, end), dtype=np.int32)
            yield Example(demonstration.row, ids, len(prompt))


def hold_out(
    demonstrations: Sequence[Demonstration], share: float, seed: int
) -> tuple[tuple[Demonstration, ...], tuple[Demonstration, ...]]:
    """Split `demonstrations` into a training and a held-out part, by a hash of each first prompt.

    All demonstrations of one prompt, and all turns of a conversation, are on the same side. They stay there when rows
    are added, dropped or shuffled. About `share` of the prompts are held out.
    """

    def is_held_out(demonstration: Demonstration) -> bool:
        return int(short_hash(seed, demonstration.first_prompt), 16) < share * 16**16

    held_out = tuple(filter(is_held_out, demonstrations))
    return tuple(each for each in demonstrations if not is_held_out(each)), held_out


def _tag_ids(chat: ChatFormat) -> set[int]:
    """Ids of tags that are one token. Some tokenizers list them as special, but responses contain them legitimately."""
    tags = chat.tags
    ids = chat.encode([tag for tag in (tags.open, tags.close, tags.answer_open, tags.answer_close) if tag is not None])
    return {tag[0] for tag in ids if len(tag) == 1}


def _lists(arrays: Sequence[npt.NDArray[np.int32]]) -> pa.LargeListArray:
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
    return pa.LargeListArray.from_arrays(offsets, np.concatenate(arrays))
