"""MoreThink (minimum forcing): the thought is extended until rounds or budget are spent (arXiv:2502.12025, section 4).

`PaperMoreThink` (`compat: paper`) makes the calls of the published code, with its errors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from random import Random
from typing import Literal

from pydantic import Field

from safechain_ray.decoding.base import (
    Decoded,
    DecodingTask,
    NotNegative,
    Strategy,
    StrategyOptions,
    bos_twice,
    required_tags,
    restored_state,
    split_begun,
    split_opening,
)
from safechain_ray.errors import RowError
from safechain_ray.types import Completion, CountTokens, FinishReason, Generate, Request, ThinkingTags, short_hash

PHRASES = ("Wait", "Let me think again")
"""Phrases of the published code (github.com/uw-nsl/safechain), injected without a space or a line break."""

Choose = Callable[[Random, Sequence[str]], str]
"""Chooses one of the phrases with the sample's own random generator."""


class MoreThinkOptions(StrategyOptions):
    """Options of `morethink`, with the paper's defaults."""

    max_rounds: int = Field(10, ge=0, strict=True, description="most times that the thought is kept open")
    think_budget: int = Field(10_000, ge=1, strict=True, description="most tokens of the thought")
    compat: Literal["none", "paper"] = Field("none", description="`paper` makes the calls of the published code")


def phrases_of(task: DecodingTask, choose: Choose) -> Iterator[str]:
    """An infinite iterator of the phrases to inject, one for each round: deterministic for a task, in every process.

    A greedy sample has no seed, so the prompt seeds the choice too. Choices then differ between prompts.
    """
    random = Random(short_hash("morethink", task.sampling.seed, task.seed, task.prompt))
    while True:
        yield choose(random, PHRASES)


@dataclass(frozen=True, slots=True)
class PaperMoreThink:
    """The calls of `morethink_single` in github.com/uw-nsl/safechain. Differences from `MoreThink`:

    - every call that leaves thinking budget is extended, also one that ended its turn;
    - injected tokens are not charged, nor is the last thinking call when the rounds run out;
    - the answer gets `max_tokens - think_budget` tokens, for any length of the thought;
    - a closing tag in the answer cuts it;
    - the prompt is sent as rendered: no opening tag is added where the template has none;
    - BOS is sent twice where the template writes it.

    The choice of phrases and every call are seeded, unlike in the published code. Raises RowError where `max_tokens`
    leaves no tokens for the answer.
    """

    options: MoreThinkOptions
    choose: Choose = Random.choice

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        tags = required_tags(task)
        _, opening = split_opening(task.prompt, tags)
        if task.sampling.max_tokens <= self.options.think_budget:
            raise RowError(
                f"morethink with compat: paper answers in max_tokens - think_budget = {task.sampling.max_tokens} - "
                f"{self.options.think_budget} tokens. Fix: raise max_tokens, lower think_budget, or leave out compat."
            )

        prompt = bos_twice(task.prompt)

        async def call(number: int, text: str, max_tokens: int) -> Completion:
            seed = task.call_seed(number)
            return await generate(Request(prompt + text, task.sampling, max_tokens, seed, stop=(tags.close,)))

        state = restored_state(task.checkpoint, _State, self.options.max_rounds)
        if state is None:
            first = await call(0, "", self.options.think_budget)
            tokens = first.completion_tokens
            state = _State(self.options.think_budget, first.prompt_tokens, tokens, first.text, tokens)
            task.save_checkpoint(asdict(state))
        phrases = islice(phrases_of(task, self.choose), state.rounds, None)
        while state.rounds < self.options.max_rounds and state.budget > state.last_tokens:
            state.budget -= state.last_tokens
            phrase = next(phrases)
            state.text += state.last + phrase
            state.rounds += 1
            completion = await call(state.rounds, state.text, state.budget)
            state.last, state.last_tokens = completion.text, completion.completion_tokens
            state.tokens += count_tokens(phrase) + completion.completion_tokens
            task.save_checkpoint(asdict(state))

        closing = f"{tags.close}\n\n"
        text = state.text + state.last + closing
        # The last call was charged only where rounds are left.
        overdrawn = state.last_tokens - state.budget if state.rounds < self.options.max_rounds else 0
        answer = await call(state.rounds + 1, text, task.sampling.max_tokens - self.options.think_budget - overdrawn)
        return Decoded(
            prefill=opening,
            text=text + answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=state.prompt_tokens,
            completion_tokens=state.tokens + count_tokens(closing) + answer.completion_tokens,
            forced_rounds=state.rounds,
        )


@dataclass(slots=True)
class _State:
    """State between two calls. `last` is the text of the last call, which `text` and `budget` do not include yet."""

    budget: int
    prompt_tokens: NotNegative
    tokens: NotNegative
    last: str
    last_tokens: NotNegative
    text: str = ""
    rounds: NotNegative = 0


Options = MoreThinkOptions


@dataclass(frozen=True, slots=True)
class MoreThink:
    """Replaces each closing tag by a phrase, so that the model continues its thought.

    1. After `max_rounds` phrases or `think_budget` tokens the thought is closed. The answer gets the rest of
       `max_tokens`, including unused thinking budget.
    2. Every token after the prefill is charged. Injected tokens are counted by `count_tokens`. A replaced closing tag
       was generated, and stays charged where the engine counts it.
    3. A model that ends its turn inside the thought has ended the response.
    4. A checkpoint is saved after each round.
    5. Every call has its own seed: the thinking calls by their round, then the answer.
    """

    options: MoreThinkOptions
    choose: Choose = Random.choice

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        tags = required_tags(task)
        turn, begun = split_begun(task.prompt, tags)
        opening = "" if tags.close in begun else begun  # a thought that the template closed is opened again
        checkpoint = restored_state(task.checkpoint, _Written, self.options.max_rounds) or _Written()
        writing = _Writing(
            **asdict(checkpoint),
            task=task,
            turn=turn,
            prefill=opening or f"{tags.open}\n",
            generate=generate,
            count_tokens=count_tokens,
        )
        if not writing.closed:
            ended = await self._think(writing, tags, islice(phrases_of(task, self.choose), writing.rounds, None))
            if ended is not None:
                return writing.decoded(ended)
            closing = f"{tags.close}\n\n"
            if writing.spent + count_tokens(closing) >= task.sampling.max_tokens:
                return writing.decoded("length")
            writing.inject(closing)
            writing.closed = True
            writing.save_checkpoint()
        answer = await writing.generate_up_to(task.sampling.max_tokens)
        return writing.decoded(answer.finish_reason)

    async def _think(self, writing: "_Writing", tags: ThinkingTags, phrases: Iterator[str]) -> FinishReason | None:
        """Decode the thought. None if an answer follows, else the reason why the response ended inside the thought."""
        budget = min(self.options.think_budget, writing.task.sampling.max_tokens)
        while True:
            completion = await writing.generate_up_to(budget, stop=tags.close)
            if completion.finish_reason == "length":
                # Below the budget the model's context is full: there are no tokens for an answer either.
                return None if writing.spent >= budget else "length"
            if completion.stop_string is None:
                return "stop"
            if writing.rounds == self.options.max_rounds:
                return None
            phrase = next(phrases)
            if writing.spent + writing.count_tokens(phrase) >= budget:
                return None
            writing.inject(phrase)
            writing.rounds += 1
            writing.save_checkpoint()


@dataclass(slots=True, kw_only=True)
class _Written:
    """Checkpoint of a response: its text so far, the tokens that it has cost, and whether its thought is closed."""

    text: str = ""
    spent: NotNegative = 0
    rounds: NotNegative = 0
    prompt_tokens: NotNegative | None = None
    closed: bool = False


@dataclass(slots=True, kw_only=True)
class _Writing(_Written):
    """A response while it is written."""

    task: DecodingTask
    turn: str
    prefill: str
    generate: Generate
    count_tokens: CountTokens

    async def generate_up_to(self, limit: int, stop: str | None = None) -> Completion:
        """Continue until the response has `limit` tokens in total. Prefix caching avoids a second prefill."""
        completion = await self.generate(
            Request(
                self.turn + self.prefill + self.text,
                self.task.sampling,
                max_tokens=limit - self.spent,
                seed=self.task.call_seed(self.rounds + self.closed),
                stop=() if stop is None else (stop,),
            )
        )
        self.text += completion.text
        self.spent += completion.completion_tokens
        if self.prompt_tokens is None:
            self.prompt_tokens = completion.prompt_tokens
        return completion

    def inject(self, text: str) -> None:
        self.text += text
        self.spent += self.count_tokens(text)

    def save_checkpoint(self) -> None:
        self.task.save_checkpoint({each.name: getattr(self, each.name) for each in fields(_Written)})

    def decoded(self, finish_reason: FinishReason) -> Decoded:
        return Decoded(self.prefill, self.text, finish_reason, self.prompt_tokens or 0, self.spent, self.rounds)


def build(options: MoreThinkOptions) -> Strategy:
    return PaperMoreThink(options) if options.compat == "paper" else MoreThink(options)
