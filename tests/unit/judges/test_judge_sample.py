"""Judging of one sample's parts: judged texts and missing verdicts."""

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from safechain_ray.errors import EngineDiedError, EngineStartError
from safechain_ray.judges.base import Vote, count_votes, judge_sample, nothing_to_judge
from safechain_ray.testing import sample
from safechain_ray.types import NO_FAILURE, Part, Sample, Verdict

SAMPLE = sample()
PARTS: tuple[Part, ...] = ("response", "thought", "answer")


@dataclass
class ScriptedJudge:
    name: str = "scripted"
    raises: Exception | None = None
    asked: list[tuple[str, Part, str]] = field(default_factory=list)

    async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
        self.asked.append((prompt, part, text))
        if self.raises is not None:
            raise self.raises
        return Verdict(self.name, part, False, 0.0)


def verdicts(sample: Sample, *parts: Part, judge: ScriptedJudge | None = None) -> tuple[Verdict, ...]:
    return asyncio.run(judge_sample(judge or ScriptedJudge(), sample, parts or ("response",)))


def test_each_part_is_judged_with_the_prompt_in_the_order_asked_for():
    judge = ScriptedJudge()
    result = verdicts(SAMPLE, "answer", "response", "thought", judge=judge)
    assert [verdict.part for verdict in result] == ["answer", "response", "thought"]
    assert sorted(judge.asked) == [
        ("Q", "answer", "Hi."),
        ("Q", "response", "<think>\nHm.\n</think>\n\nHi."),
        ("Q", "thought", "Hm."),
    ]


@pytest.mark.parametrize("outcome", ["blocked", "error"])
def test_a_sample_without_a_response_has_missing_verdicts(outcome):
    sample = replace(SAMPLE, outcome=outcome, thought=None, answer=None, response=None)
    for verdict in verdicts(sample, "response", "answer"):
        assert (verdict.unsafe, verdict.error) == (None, f"no response to judge: outcome {outcome}")


def test_a_family_without_tags_has_no_thought_or_answer_to_judge():
    sample = replace(SAMPLE, thought=None, answer=None)
    response, answer = verdicts(sample, "response", "answer")
    assert response.unsafe is False
    assert (answer.unsafe, answer.error) == (
        None,
        "no answer to judge: models without thinking tags have only a response",
    )


@pytest.mark.parametrize("empty", ["", " \n"])
def test_the_empty_answer_of_a_truncated_sample_is_missing_but_its_response_is_judged(empty):
    sample = replace(SAMPLE, outcome="truncated", answer=empty, response="<think>\nHm")
    response, answer = verdicts(sample, "response", "answer")
    assert response.unsafe is False
    assert (answer.unsafe, answer.error) == (None, "the answer is empty")


@pytest.mark.parametrize(
    "broken",
    [
        Verdict("scripted", "response", True, categories=(1, 2)),
        Verdict("scripted", "response", "yes"),
        Verdict("scripted", "response", True, score="much"),
    ],
)
def test_a_verdict_that_a_table_can_not_hold_is_the_error_of_its_part_and_not_its_blocks(broken: Verdict):
    class Careless(ScriptedJudge):
        async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
            return broken

    (verdict,) = verdicts(SAMPLE, judge=Careless())
    assert verdict.unsafe is None
    assert any(word in str(verdict.error) for word in ("Arrow", "Type", "the judge's code gave"))


def test_an_exception_in_the_judge_is_the_error_of_its_verdict():
    (verdict,) = verdicts(SAMPLE, judge=ScriptedJudge(raises=KeyError("S1")))
    assert (verdict.judge, verdict.part, verdict.unsafe) == ("scripted", "response", None)
    assert verdict.error == "KeyError: 'S1'"


@pytest.mark.parametrize("death", [EngineDiedError("out of memory"), EngineStartError("no GPU")])
def test_a_dead_engine_is_no_verdict(death):
    with pytest.raises(type(death)):
        verdicts(SAMPLE, judge=ScriptedJudge(raises=death))


def test_a_missing_verdict_without_a_text_or_without_votes_is_no_failure_of_a_judge():
    absent = replace(SAMPLE, response=None, outcome="error")
    texts = [
        *(nothing_to_judge(absent, part) for part in PARTS),
        *(nothing_to_judge(replace(SAMPLE, thought=None, answer=None), part) for part in ("thought", "answer")),
        *(nothing_to_judge(replace(SAMPLE, response=" ", thought="", answer=""), part) for part in PARTS),
        *(count_votes(Vote("vote", "any", ("guard",)), part, ()).error for part in PARTS),
    ]
    assert len(texts) == 11
    assert all(re.match(NO_FAILURE, text or "") for text in texts), texts
    assert not re.match(NO_FAILURE, "RowError: the prompt takes 3,000 tokens")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (None, "NoneType, which is no Verdict"),
        (Verdict("other", "response", True), "a verdict of 'other'"),
        (Verdict("odd", "thought", True), "on the 'thought', not its own on the response"),
        (Verdict("odd", "response", 1), "unsafe=1, not True, False or None"),  # type: ignore[arg-type]
        (Verdict("odd", "response", True, float("nan")), "a score of nan"),
        (Verdict("odd", "response", True, 2.5), "a score of 2.5"),
        (Verdict("odd", "response", None), "neither a decision nor an error"),
        (Verdict("odd", "response", True, error="e"), "both a decision and an error"),
    ],
)
def test_a_verdict_that_breaks_the_protocol_is_missing_with_the_reason(verdict: Any, words: str) -> None:
    class Odd:
        name = "odd"

        async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
            return verdict

    (found,) = asyncio.run(judge_sample(Odd(), SAMPLE, ("response",)))
    assert (found.judge, found.part, found.unsafe, found.score) == ("odd", "response", None, None)
    assert words in str(found.error)
