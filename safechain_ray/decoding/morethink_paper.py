"""MoreThink as it was published, call by call, slips included: `morethink` with `compat: paper`."""

from dataclasses import asdict, dataclass
from itertools import islice
from random import Random

from safechain_ray.decoding.morethink_options import Choose, MoreThinkOptions, phrases_of
from safechain_ray.decoding.task import (
    Decoded,
    DecodingTask,
    NotNegative,
    bos_twice,
    kept_state,
    required_tags,
    split_opening,
)
from safechain_ray.errors import RowError
from safechain_ray.types import Completion, CountTokens, Generate, Request


@dataclass(frozen=True, slots=True)
class PaperMoreThink:
    """The calls of `morethink_single` in github.com/uw-nsl/safechain, which differ from `MoreThink` in that:

    - every call that leaves thinking budget is forced on, one that ended its turn too;
    - injected tokens are not charged, nor is the last thinking call when the rounds run out;
    - the answer gets `max_tokens - think_budget`, however little was thought;
    - a closing tag in the answer cuts it;
    - the prompt is sent as the template made it: nothing opens a thought that the template left closed;
    - BOS is sent twice where the template writes it.

    The choice of phrases and every call are seeded, which the published ones were not. Raises RowError where
    `max_tokens` leaves the answer nothing.
    """

    options: MoreThinkOptions
    choose: Choose = Random.choice

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        tags = required_tags(task)
        _, opening = split_opening(task.prompt, tags)
        if task.sampling.max_tokens <= self.options.think_budget:
            raise RowError(
                f"morethink with compat: paper answers in max_tokens - think_budget = {task.sampling.max_tokens} - "
                f"{self.options.think_budget} tokens; raise max_tokens, lower think_budget, or leave compat out"
            )

        prompt = bos_twice(task.prompt)

        async def call(number: int, text: str, max_tokens: int) -> Completion:
            seed = task.call_seed(number)
            return await generate(Request(prompt + text, task.sampling, max_tokens, seed, stop=(tags.close,)))

        state = kept_state(task.kept, _State, self.options.max_rounds)
        if state is None:
            first = await call(0, "", self.options.think_budget)
            tokens = first.completion_tokens
            state = _State(self.options.think_budget, first.prompt_tokens, tokens, first.text, tokens)
            task.keep(asdict(state))
        phrases = islice(phrases_of(task, self.choose), state.rounds, None)
        while state.rounds < self.options.max_rounds and state.budget > state.last_tokens:
            state.budget -= state.last_tokens
            phrase = next(phrases)
            state.text += state.last + phrase
            state.rounds += 1
            completion = await call(state.rounds, state.text, state.budget)
            state.last, state.last_tokens = completion.text, completion.completion_tokens
            state.tokens += count_tokens(phrase) + completion.completion_tokens
            task.keep(asdict(state))

        closing = f"{tags.close}\n\n"
        text = state.text + state.last + closing
        # Only where rounds are left was the last call charged.
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
    """Where the calls are: `last` is what the last one wrote, which neither `text` nor `budget` reckons in yet."""

    budget: int
    prompt_tokens: NotNegative
    tokens: NotNegative
    last: str
    last_tokens: NotNegative
    text: str = ""
    rounds: NotNegative = 0
