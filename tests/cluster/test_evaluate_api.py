"""An evaluation of a model behind an API on a real Ray cluster: its key, its budget, and a provider that refuses."""

import json
from typing import Any

import pytest
from aiohttp import web

from safechain_ray.commands.evaluate import Evaluation
from safechain_ray.errors import EngineRefusedError, RunConflictError
from tests.cluster.scripted_runs import API_KEY, API_KEY_ENV, Runner
from tests.scripted_api import ScriptedApi, chat, failure, serving

pytestmark = pytest.mark.usefixtures("one_driver")


async def answering(body: dict[str, Any], request: web.Request) -> web.Response:
    return chat("Hello", reasoning_content="Greet.")


def evaluate_over(api: ScriptedApi, run: Runner, **flags: Any) -> Evaluation:
    model = {"name": "openai:model-1", "base_url": api.url, "api_key_env": API_KEY_ENV}
    return run(**{"model": model, "judges": ["refusal-match"], "samples": 1, "sampling.temperature": 0.0, **flags})


def test_rows_beyond_the_budget_wait_for_the_next_try_and_none_is_paid_twice(run: Runner) -> None:
    with serving(answering) as api:
        first = evaluate_over(api, run, **{"resources.max_requests": 20})
        assert first.errors == 40
        assert len(api.bodies) == 20
        errors = {row["error"] for row in run.rows if row["outcome"] == "error"}
        assert len(errors) == 1
        assert "the budget of 20 requests is spent" in errors.pop()
        second = evaluate_over(api, run)
    assert second.errors == 0
    assert set(api.paid.values()) == {1}
    assert len(api.paid) == 60
    assert {(row["thought"], row["answer"], row["thought_tokens"]) for row in run.rows} == {("Greet.", "Hello", 3)}
    tries = json.loads((run.output / "run.json").read_text())["tries"]
    assert [one["pools"]["model"]["requests"] for one in tries] == [20, 40]


def test_the_key_reaches_the_provider_and_no_file_of_the_run(run: Runner) -> None:
    with serving(answering) as api:
        evaluate_over(api, run)
        with pytest.raises(RunConflictError):
            evaluate_over(api, run, **{"model": {"name": "openai:model-2", "base_url": api.url}})
    assert api.headers[0]["Authorization"] == f"Bearer {API_KEY}"
    files = [file for file in run.output.rglob("*") if file.is_file()]
    assert len(files) > 2
    assert not any(API_KEY.encode() in file.read_bytes() for file in files)


def test_a_provider_that_refuses_the_key_ends_the_run_at_once_with_the_fix(run: Runner) -> None:
    async def refusing(body: dict[str, Any], request: web.Request) -> web.Response:
        return failure(401, f"invalid key {API_KEY}")

    with serving(refusing) as api, pytest.raises(EngineRefusedError) as refused:
        evaluate_over(api, run)
    assert API_KEY_ENV in str(refused.value)
    assert API_KEY not in str(refused.value) + (run.output / "run.json").read_text()
    assert len(api.bodies) < 60
    assert list(run.output.glob("samples/*.parquet")) == []


def test_cut_thoughts_and_odd_answers_are_rows_of_their_own_and_disturb_no_other(run: Runner) -> None:
    """The server's template opens the thought; some bills and characters fit no column."""

    async def oddly(body: dict[str, Any], request: web.Request) -> web.Response:
        match sum(body["messages"][-1]["content"].encode()) % 4:
            case 0:
                return chat("Let me see", "length")
            case 1:
                return chat("Hm.\n</think>\n\nHello", usage={"prompt_tokens": 2**31, "completion_tokens": 2**40})
            case 2:
                text = r'{"choices": [{"message": {"content": "Hm.\n</think>\n\nHal\ud83d"}, "finish_reason": "stop"}]}'
                return web.Response(text=text, content_type="application/json")
        return chat("Hm.\n</think>\n\nHello")

    with serving(oddly) as api:
        assert evaluate_over(api, run).errors == 0
    rows = run.rows
    assert len(rows) == 60
    assert {(row["thought"], row["answer"], row["outcome"]) for row in rows} == {
        ("Let me see", "", "truncated"),
        ("Hm.", "Hello", "ok"),
        ("Hm.", "Hal\ufffd", "ok"),
    }
    assert all(0 < row["thought_tokens"] + row["answer_tokens"] <= 10 for row in rows)
