"""Moderation judge against a local compatible server: verdicts, retries, errors, the key."""

import asyncio
import gzip
import json
import time

import pytest

from safechain_ray.errors import EngineStartError, InputError
from safechain_ray.judges.base import make_judge
from safechain_ray.types import Verdict
from tests.moderation_server import Answer, ModerationServer, moderation, moderation_entry, problem, serving

KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_KEY", KEY)


def judged(server: ModerationServer, *texts: str, **endpoint: object) -> list[Verdict]:
    """The verdicts on `texts`, asked for at the same time."""
    judge = make_judge(moderation_entry(server, **{"api_key_env": "MODERATION_KEY", **endpoint}), None)

    async def all_at_once() -> list[Verdict]:
        return await asyncio.gather(*(judge.judge("How?", "answer", text) for text in texts))

    return asyncio.run(all_at_once())


def test_flagged_is_unsafe_with_the_largest_score_and_the_flagged_categories():
    with serving() as server:
        bomb, cake = judged(server, "a bomb", "a cake")
    assert bomb == Verdict("openai-moderation", "answer", True, 0.9, ("violence", "illicit"))
    assert cake == Verdict("openai-moderation", "answer", False, 0.2, ())


def test_the_judged_text_alone_is_sent_with_the_model_and_the_key():
    with serving() as server:
        judged(server, "a cake")
    (asked,) = server.requests
    assert (asked.path, asked.key) == ("/v1/moderations", KEY)
    assert asked.body == {"model": "omni-moderation-latest", "input": "a cake"}


def test_a_server_that_wants_no_key_gets_none_of_ours():
    with serving() as server:
        judged(server, "a cake", api_key_env="")
    assert server.requests[0].key == "none"


def test_no_more_requests_are_under_way_than_the_endpoint_takes():
    slow = Answer(body=moderation({"hate": 0.1}).body, seconds=0.1)
    with serving(answer=lambda text: slow) as server:
        verdicts = judged(server, *(f"text {number}" for number in range(12)), max_concurrent=3)
    assert server.most_at_once == 3
    assert {verdict.unsafe for verdict in verdicts} == {False}


def test_a_full_or_failing_server_is_asked_again_as_late_as_it_says():
    busy = problem(429, "slow down", Retry_After="1")
    with serving(first=[busy, problem(500, "oops"), Answer(503, b"<html>")]) as server:
        started = time.monotonic()
        (verdict,) = judged(server, "a bomb")
    assert verdict.unsafe is True
    assert len(server.requests) == 4
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (problem(400, "too long: 40,000 tokens"), "Error code: 400 - too long: 40,000 tokens"),
        (Answer(404, b"nothing here"), "Error code: 404"),
        (Answer(200, b"<html>no JSON</html>"), "the answer is no moderation: the body: Invalid JSON"),
        (Answer(200, b'{"results": []}'), "the answer is no moderation: results"),
        (Answer(200, b'{"results": [{"flagged": "?"}]}'), "the answer is no moderation: results.0.flagged"),
        (moderation({"hate": 7.0}), "the answer is no moderation: results.0.category_scores.hate"),
        (Answer(200, b"\xff\xfe"), "the answer is no moderation"),
    ],
)
def test_a_refusal_or_garbage_is_a_verdict_with_an_error_and_the_next_text_fares_as_it_would(answer: Answer, says: str):
    with serving(first=[answer]) as server:
        (first,) = judged(server, "x")
        (second,) = judged(server, "a bomb")
    assert (first.unsafe, first.score) == (None, None)
    assert says in (first.error or "")
    assert second.unsafe is True


def test_a_server_that_is_not_there_is_a_verdict_with_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("safechain_ray.judges.openai_moderation.RETRIES", 0)
    with serving() as server:
        pass
    (verdict,) = judged(server, "x")
    assert "Connection error" in (verdict.error or "")


def test_a_refused_key_ends_the_run_for_no_other_sample_would_fare_better():
    with (
        serving(answer=lambda text: problem(401, f"Incorrect API key provided: {KEY}")) as server,
        pytest.raises(EngineStartError, match="refuses the key in MODERATION_KEY") as refused,
    ):
        judged(server, "x")
    assert KEY not in str(refused.value)


def test_the_key_shows_nowhere():
    with serving(answer=lambda text: problem(400, f"you sent {KEY}")) as server:
        entry = moderation_entry(server, api_key_env="MODERATION_KEY")
        (verdict,) = judged(server, "x")
    assert KEY not in repr(make_judge(entry, None)) + repr(entry) + json.dumps(entry.model_dump())
    assert KEY not in repr(verdict)
    assert "***" in repr(verdict)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MODERATION_KEY")
    with serving() as server, pytest.raises(InputError, match="environment variable MODERATION_KEY is not set"):
        judged(server, "x")


def test_it_can_not_be_made_without_a_server():
    with serving() as server:
        entry = moderation_entry(server).model_copy(update={"endpoint": None})
    with pytest.raises(InputError, match=r"needs a server\. Fix: add `endpoint:` to its entry"):
        make_judge(entry, None)


def test_a_redirect_is_not_followed_and_is_a_verdict_with_an_error():
    with serving() as other:
        moved = Answer(307, headers={"Location": f"{other.url}/moderations?token=of-others"})
        with serving(answer=lambda text: moved) as server:
            (verdict,) = judged(server, "a cake")
    assert (other.requests, len(server.requests)) == ([], 1)
    assert f"redirects to {other.url.removesuffix('/v1')}; redirects are not followed" in str(verdict.error)
    assert "of-others" not in str(verdict.error)


def test_an_answer_without_bounds_is_a_verdict_with_an_error():
    bomb = Answer(body=gzip.compress(b" " * 2**25), headers={"Content-Encoding": "gzip"})
    for endless in (bomb, Answer(body=b" " * 2**22)):
        with serving(answer=lambda text, endless=endless: endless) as server:
            (verdict,) = judged(server, "a cake")
        assert len(server.requests) == 1
        assert "the answer is longer than 1.0 MiB" in str(verdict.error)
