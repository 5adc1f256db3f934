"""MoreThink as it was published, call by call, slips included: `morethink` with `compat: paper`."""

from dataclasses import dataclass
from random import Random

from safechain_ray.decoding.rethink import Choose, MoreThinkOptions, phrases_of
from safechain_ray.decoding.task import Decoded, DecodingTask, required_tags, split_opening
from safechain_ray.errors import RowError
from safechain_ray.schema import Completion, CountTokens, Generate, Request


@dataclass(frozen=True, slots=True)
class PaperMoreThink:
    """The calls of `morethink_single` in github.com/uw-nsl/safechain, which differ from `MoreThink` in that:

    - every call that leaves thinking budget is forced on, one that ended its turn too;
    - injected tokens are not charged, nor is the last thinking call when the rounds run out;
    - the answer gets `max_tokens - think_budget`, however little was thought;
    - a closing tag in the answer cuts it;
    - the prompt is sent as the template made it: nothing opens a thought that the template left closed.

    The choice of phrases is seeded, which the published one was not. Raises RowError where `max_tokens` leaves the
    answer nothing.
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

        async def call(text: str, max_tokens: int) -> Completion:
            request = Request(task.prompt + text, task.sampling, max_tokens, task.seed, stop=(tags.close,))
            return await generate(request)

        phrases = phrases_of(task, self.choose)
        budget = self.options.think_budget
        rounds = 0
        text = ""
        completion = first = await call(text, budget)
        tokens = first.completion_tokens
        for _ in range(self.options.max_rounds):
            budget -= completion.completion_tokens
            if budget <= 0:
                break
            phrase = next(phrases)
            text += completion.text + phrase
            rounds += 1
            completion = await call(text, budget)
            tokens += count_tokens(phrase) + completion.completion_tokens

        closing = f"{tags.close}\n\n"
        text += completion.text + closing
        answer = await call(text, task.sampling.max_tokens - self.options.think_budget + min(0, budget))
        return Decoded(
            prefill=opening,
            text=text + answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=first.prompt_tokens,
            completion_tokens=tokens + count_tokens(closing) + answer.completion_tokens,
            forced_rounds=rounds,
        )
