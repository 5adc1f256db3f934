"""Prompts, what judges say, and samples: one response of a model each."""

from dataclasses import dataclass

from safechain_ray.types.words import FinishReason, Outcome, Part


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request of a data set. A prompt with an `error` is never generated: its samples carry the error."""

    prompt_id: str
    text: str
    category: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's decision on one part of one sample. `unsafe` is None exactly where `error` says why.

    `note` is what a reader of the decision must know, for example that the judge saw only an end of the part.
    """

    judge: str
    part: Part
    unsafe: bool | None
    score: float | None = None
    categories: tuple[str, ...] = ()
    error: str | None = None
    note: str | None = None


NO_FAILURE = r"^(no \w+ to judge|the \w+ is empty|undecided without the verdict of)"
"""How the error of a missing verdict begins where no judge failed: there was no text, or a vote lacks its judges."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One response of a model to a prompt in a setting: a row of `samples/*.parquet`.

    `thought` and `answer` are None for families without thinking tags; `response` is the text that the judge of the
    paper saw. `prefill` is the part of the response that was written for the model. Token counts are the engine's.
    """

    sample_id: str
    setting_id: str
    model: str
    dataset: str
    prompt_id: str
    category: str
    prompt: str
    strategy: str
    sample_index: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int | None
    thought: str | None
    answer: str | None
    response: str | None
    prefill: str
    outcome: Outcome
    finish_reason: FinishReason | None
    error: str | None
    prompt_tokens: int
    thought_tokens: int | None
    answer_tokens: int | None
    forced_rounds: int
    seconds: float
    engine: str
    verdicts: tuple[Verdict, ...] = ()
