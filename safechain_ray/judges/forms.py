"""Judge whose request and reading are data of its catalog entry: fill the slots, generate, read the answer.

The kinds labelled_lines, first_token, policy and template share this judge. Their entries are validated by
`catalog/judge_entries.py`, and differ in which answers may decide.

1. Slots are filled in one pass with escaped text (`hostile_text.py`).
2. An entry with several policies sends one request for each. The verdict is unsafe if one of them is violated.
3. The verdict is read only from the judge's own answer, without the judge's thought (`read_answers.py`).
"""

import re
from asyncio import gather
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from safechain_ray.catalog.judge_entries import JudgeEntry, with_policy_text
from safechain_ray.catalog.judge_forms import JudgeRequest
from safechain_ray.errors import InputError, RowError
from safechain_ray.judges.base import missing_verdict
from safechain_ray.judges.hostile_text import escaped, fill, marks_of
from safechain_ray.judges.read_answers import THOUGHT_OPENS, AnswerReader
from safechain_ray.types import Engine, Generate, Message, Part, Request, Sampling, Verdict, short_hash

LOGPROBS = 20

MARK_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class FormJudge:
    """A model with greedy decoding, asked once for each policy. `policies` is {"": ""} without a policy.

    `generate` and `render` are functions of the judge's engine.
    """

    name: str
    request: JudgeRequest
    reader: AnswerReader
    policies: Mapping[str, str]
    marks: re.Pattern[str] | None
    generate: Generate
    render: Callable[[tuple[Message, ...]], str]

    async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
        """The verdict. A request that the engine refuses (an over-long text) gives a verdict with an error."""
        shown = slot_values(self.marks, prompt, part, text)
        asked = (self._ask(shown | {"policy": policy}, part) for policy in self.policies.values())
        verdicts = dict(zip(self.policies, await gather(*asked), strict=True))
        if len(verdicts) == 1:
            return next(iter(verdicts.values()))
        return worst_of(self.name, part, verdicts)

    async def _ask(self, values: Mapping[str, str], part: Part) -> Verdict:
        try:
            prompt = self._prompt(values)
            request = Request(
                prompt,
                Sampling(temperature=0, max_tokens=self.request.max_tokens),
                self.request.max_tokens,
                stop=self.request.stop,
                logprobs=LOGPROBS if self.reader.needs_logprobs else 0,
                skip_special_tokens=self.reader.answers.own_thought != "harmony",  # channels are special tokens
            )
            opened = prompt.rstrip().endswith(THOUGHT_OPENS)
            return self.reader.read(self.name, part, await self.generate(request), thought_is_open=opened)
        except RowError as error:
            return missing_verdict(self.name, part, str(error))

    def _prompt(self, values: Mapping[str, str]) -> str:
        filled = filled_request(self.request, values)
        return filled if isinstance(filled, str) else self.render(filled)


def slot_values(marks: re.Pattern[str] | None, prompt: str, part: Part, text: str) -> dict[str, str]:
    """The texts of all slots but the policy, with control tokens and `marks` broken up."""
    shown = {"prompt": escaped(prompt, marks), "response": escaped(text, marks)}
    mark = short_hash(shown["prompt"], shown["response"], characters=MARK_CHARACTERS)
    return {**shown, "part": part, "mark": mark}


def filled_request(request: JudgeRequest, values: Mapping[str, str]) -> str | tuple[Message, ...]:
    """The raw prompt, or the messages for the chat template."""
    if request.raw is not None:
        return fill(request.raw, values)
    return tuple(Message(turn.role, fill(turn.content, values)) for turn in request.messages or ())


def example_request(entry: JudgeEntry, prompt: str, text: str) -> str | tuple[Message, ...]:
    """What an entry with a request sends about `text`, for checks without an engine."""
    assert entry.request is not None
    policy = entry.policy or next(iter(entry.policies.values()), "")
    values = slot_values(marks_of(entry.request.texts, entry.request.marks), prompt, "response", text)
    return filled_request(entry.request, {**values, "policy": policy})


def worst_of(judge: str, part: Part, verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict from those on several policies: unsafe if one is unsafe, else missing if one is missing.

    The score is the highest one, and the categories are the policies that are violated.
    """
    violated = tuple(name for name, verdict in verdicts.items() if verdict.unsafe)
    missing = {name: verdict.error for name, verdict in verdicts.items() if verdict.unsafe is None}
    if missing and not violated:
        name, error = next(iter(missing.items()))
        return missing_verdict(judge, part, f"policy {name}: {error}")
    scores = [verdict.score for verdict in verdicts.values() if verdict.score is not None]
    note = f"no verdict on the policies {', '.join(missing)}" if missing else None
    return Verdict(judge, part, bool(violated), max(scores, default=None), violated, note=note)


def build(entry: JudgeEntry, engine: Engine | None) -> FormJudge:
    """The judge of an entry of a kind in `FORMS`. Raises InputError without an engine, or for an unreadable policy."""
    if engine is None or entry.request is None or entry.answers is None:
        raise InputError(
            f"Judge {entry.name!r} of kind {entry.kind} needs a model. Fix: add `engine:` or `endpoint:` to its entry."
        )
    entry = with_policy_text(entry)
    request = entry.request
    assert request is not None
    assert entry.answers is not None
    return FormJudge(
        entry.name,
        request,
        AnswerReader(entry.answers, entry.reading),
        entry.policies or {"": entry.policy or ""},
        marks_of(request.texts, request.marks),
        engine.generate,
        engine.render,
    )
