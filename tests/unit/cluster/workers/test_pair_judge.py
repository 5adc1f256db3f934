"""Preferring blocks in the stream: every pair is decided or says why not, by an engine or by a server."""

import asyncio
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from pydantic import SecretStr

from safechain_ray.catalog import judges
from safechain_ray.catalog.judge_entries import JudgeEntry, judging_api
from safechain_ray.cluster.progress import ProgressTracker
from safechain_ray.cluster.workers.pair_judge import PairJudgeWorker, preference_counts
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.errors import EngineStartError
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types.tables import PAIRS_SCHEMA, PREFERENCES_SCHEMA
from tests.scripted_api import serving
from tests.unit.cluster.local_actors import LocalActor, LocalTracker, start_of

ENTRY = judges()["prefer-llama-3.3-70b"]


def pairs(*texts: tuple[str, str]) -> pa.Table:
    usual = dict.fromkeys(PAIRS_SCHEMA.names, "x") | {"sample_index": 0, "prompt": "How?"}
    rows = [{**usual, "sample_id": str(number), "a": a, "b": b} for number, (a, b) in enumerate(texts)]
    return pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)


def worker(progress_tracker: ProgressTracker, **script: Any) -> PairJudgeWorker:
    """Prefers what is shown first where it says `good`, else the second."""
    assert ENTRY.engine is not None
    usual = {"answer": lambda request: "A" if "A " in request.prompt and first_is_good(request.prompt) else "B"}
    engines = ScriptedEngines({ENTRY.engine.source: Script(**{**usual, **script})})
    start, told = start_of(ENTRY.engine), (LocalActor(progress_tracker), LocalTracker())
    return PairJudgeWorker(ENTRY, ("answer", "response"), start, engines, 2, None, *told)


def first_is_good(prompt: str) -> bool:
    return "good" in prompt.partition("[end response A")[0]


def test_every_pair_of_a_block_is_decided_and_counted():
    progress_tracker = ProgressTracker()
    decided = asyncio.run(worker(progress_tracker)(pairs(("good", "bad"), ("bad", "good"), ("bad", "bad"))))
    assert decided.schema.equals(PREFERENCES_SCHEMA)
    assert decided["sample_id"].to_pylist() == ["0", "1", "2"]
    assert decided["outcome"].to_pylist() == ["win", "lose", "tie"]
    assert preference_counts(decided) == {"rows": 3, "win": 1, "tie": 1, "lose": 1, "missing": 0}
    counts = progress_tracker.progress()[ENTRY.name].counts
    assert (counts["rows_in"], counts["rows_out"], counts["judge_errors"]) == (3, 3, 0)


def test_an_empty_text_is_an_error_that_asks_nobody():
    decided = asyncio.run(worker(ProgressTracker(), answer=lambda request: "?")(pairs(("", "good"), (" ", ""))))
    assert decided["error"].to_pylist() == [
        "nothing to compare: the answer of A is empty",
        "nothing to compare: the answer of A is empty, the response of B is empty",
    ]


def test_a_pair_that_kills_the_judge_is_an_error_and_the_block_goes_on():
    progress_tracker = ProgressTracker()
    deadly = worker(progress_tracker, dies_on=lambda request: "poison" in request.prompt)
    decided = asyncio.run(deadly(pairs(("good", "bad"), ("good", "poison"))))
    assert decided["outcome"].to_pylist() == ["win", "error"]
    assert "2 engines died" in decided["error"][1].as_py()
    assert progress_tracker.progress()[ENTRY.name].counts["judge_errors"] == 1


def test_an_error_with_half_of_a_surrogate_pair_costs_one_pair():
    def answer(request: Any) -> str:
        raise RuntimeError("half: \ud83d")

    table = asyncio.run(worker(ProgressTracker(), answer=answer)(pairs(("good", "bad"))))
    assert table["outcome"].to_pylist() == ["error"]
    assert "half: \ufffd" in table["error"].to_pylist()[0]


def test_a_judge_whose_engine_does_not_start_decides_nothing():
    with pytest.raises(EngineStartError, match="no such judge"):
        asyncio.run(worker(ProgressTracker(), start_error="no such judge")(pairs(("good", "bad"))))


def test_no_rows_are_no_counts():
    assert preference_counts(PREFERENCES_SCHEMA.empty_table())["rows"] == 0


def endpoint(url: str) -> JudgeEntry:
    entry = judges()["prefer-gpt-4o"]
    assert entry.endpoint is not None
    update = {"base_url": url, "api_key_env": "NODE_KEY", "model": "chat-1"}
    return entry.model_copy(update={"endpoint": entry.endpoint.model_copy(update=update)})


async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
    letter = "A" if first_is_good(body["messages"][-1]["content"]) else "B"
    top = [{"token": letter, "logprob": -0.1}, {"token": "C", "logprob": -2.5}]
    logprobs = {"content": [{"token": letter, "logprob": -0.1, "top_logprobs": top}]}
    choice = {"index": 0, "finish_reason": "length", "message": {"content": letter}, "logprobs": logprobs}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})


def test_a_server_is_asked_with_the_drivers_key_for_one_token_and_its_log_probabilities(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("NODE_KEY", "")  # undone after the test, with what the worker sets
    with serving(respond) as api:
        entry = endpoint(api.url)
        start = ApiStart(judging_api(entry))
        asked = PairJudgeWorker(
            entry,
            ("answer", "answer"),
            start,
            start_api,
            2,
            SecretStr("sk-driver"),
            LocalActor(ProgressTracker()),
            LocalTracker(),
        )
        decided = asyncio.run(asked(pairs(("good", "bad"))))
    assert decided["outcome"].to_pylist() == ["win"]
    assert decided["score"][0].as_py() > 0.9
    for body, headers in zip(api.bodies, api.headers, strict=True):
        assert headers["Authorization"] == "Bearer sk-driver"
        assert {name: body[name] for name in ("model", "temperature", "max_tokens", "logprobs", "top_logprobs")} == {
            "model": "chat-1",
            "temperature": 0.0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": 20,
        }
        assert [message["role"] for message in body["messages"]] == ["user"]
