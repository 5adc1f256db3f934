"""MoreThink (minimum forcing): the thought is kept open until rounds or budget are spent (arXiv:2502.12025, 4)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from random import Random

from safechain_ray.decoding.base import Strategy
from safechain_ray.decoding.morethink_options import Choose, MoreThinkOptions, phrases_of
from safechain_ray.decoding.morethink_paper import PaperMoreThink
from safechain_ray.decoding.task import Decoded, DecodingTask, NotNegative, kept_state, required_tags, split_opening
from safechain_ray.types import Completion, CountTokens, FinishReason, Generate, Request, ThinkingTags

Options = MoreThinkOptions


@dataclass(frozen=True, slots=True)
class MoreThink:
    """Each time the model would close its thought, a phrase takes the closing tag's place and it goes on.

    After `max_rounds` phrases or `think_budget` tokens the thought is closed, and the answer gets all that is left of
    `max_tokens`, unused thinking budget too. Every token of the response after the prefill is charged, injected ones
    as `count_tokens` counts them; a closing tag that is replaced was generated, and stays charged where the engine
    counts it. A model that ends its turn inside the thought has ended the response. Rounds that are done are kept.
    Every call has a seed of its own: the thinking calls by the rounds before them, then the answer.
    """

    options: MoreThinkOptions
    choose: Choose = Random.choice

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        tags = required_tags(task)
        turn, opening = split_opening(task.prompt, tags)
        kept = kept_state(task.kept, _Written, self.options.max_rounds) or _Written()
        writing = _Writing(
            **asdict(kept),
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
            writing.keep()
        answer = await writing.generate_up_to(task.sampling.max_tokens)
        return writing.decoded(answer.finish_reason)

    async def _think(self, writing: "_Writing", tags: ThinkingTags, phrases: Iterator[str]) -> FinishReason | None:
        """Write the thought. None when it is to be closed and answered, else why the response has ended in it."""
        budget = min(self.options.think_budget, writing.task.sampling.max_tokens)
        while True:
            completion = await writing.generate_up_to(budget, stop=tags.close)
            if completion.finish_reason == "length":
                # Short of the budget, it is the model's context that is full: an answer has no room either.
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
            writing.keep()


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
        """Let the model go on until the response has `limit` tokens in all. Only the new piece is new work for it."""
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

    def keep(self) -> None:
        self.task.keep({each.name: getattr(self, each.name) for each in fields(_Written)})

    def decoded(self, finish_reason: FinishReason) -> Decoded:
        return Decoded(self.prefill, self.text, finish_reason, self.prompt_tokens or 0, self.spent, self.rounds)


def build(options: MoreThinkOptions) -> Strategy:
    return PaperMoreThink(options) if options.compat == "paper" else MoreThink(options)
