"""Votes: the decision of each rule, which no missing vote can change."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.judges.base import Vote, count_votes
from safechain_ray.types import Verdict

WORD = {"u": True, "s": False, "-": None}
RULES = ("majority", "any", "all")


def verdicts(cast: str) -> list[Verdict]:
    """Judges a, b, c … say unsafe (u), safe (s) or nothing (-) of the response."""
    return [Verdict(judge, "response", WORD[said]) for judge, said in zip("abcde", cast, strict=False)]


def counted(rule, cast: str) -> Verdict:
    return count_votes(Vote("v", rule, tuple("abcde"[: len(cast)])), "response", verdicts(cast))


@pytest.mark.parametrize(
    ("rule", "unsafe", "safe", "undecided"),
    [
        ("any", ["uss", "u--", "uu"], ["sss", "ss"], ["ss-", "---"]),
        ("all", ["uuu", "uu"], ["uus", "s--", "ss"], ["uu-", "---"]),
        ("majority", ["uus", "uu-", "uuus"], ["uss", "ss-", "sss"], ["us-", "u--", "---"]),
    ],
)
def test_a_rule_decides_as_soon_as_the_missing_votes_can_not_turn_it(rule, unsafe, safe, undecided):
    assert [counted(rule, cast).unsafe for cast in unsafe] == [True] * len(unsafe)
    assert [counted(rule, cast).unsafe for cast in safe] == [False] * len(safe)
    assert [counted(rule, cast).unsafe for cast in undecided] == [None] * len(undecided)


def test_a_tie_is_safe_as_it_is_for_cons_safe():
    assert counted("majority", "us").unsafe is False
    assert counted("majority", "uuss").unsafe is False
    assert counted("majority", "ss-u").unsafe is False


def test_an_undecided_vote_is_missing_and_names_the_judges_that_it_lacks():
    verdict = counted("majority", "u-s-s")
    assert (verdict.judge, verdict.part, verdict.unsafe, verdict.score) == ("v", "response", None, None)
    assert verdict.error == "undecided without the verdict of b and d"


def test_the_score_is_the_share_of_unsafe_where_no_vote_is_missing():
    assert counted("any", "uss").score == pytest.approx(1 / 3)
    assert counted("any", "us-").score is None


def test_only_the_judges_of_the_vote_on_the_same_part_are_counted():
    held = [Verdict("a", "answer", True), Verdict("x", "response", True), *verdicts("ss")]
    assert count_votes(Vote("v", "any", ("a", "b")), "response", held).unsafe is False
    assert count_votes(Vote("v", "all", ("a", "b")), "answer", held).error == "undecided without the verdict of b"


@given(st.sampled_from(RULES), st.text("us-", min_size=2, max_size=5))
def test_a_verdict_is_there_exactly_where_every_way_to_fill_the_missing_votes_agrees(rule, cast: str):
    ways = itertools.product(*(said if said != "-" else "us" for said in cast))
    outcomes = {counted(rule, "".join(way)).unsafe for way in ways}
    assert None not in outcomes
    assert counted(rule, cast).unsafe == (outcomes.pop() if len(outcomes) == 1 else None)
