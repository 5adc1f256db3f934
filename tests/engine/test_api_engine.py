"""A whole evaluation over HTTP: a real vLLM server behind a proxy that fails three requests in ten."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pandas as pd
import pytest
from aiohttp import web

from safechain_ray.cluster.session import ray_session
from safechain_ray.commands.evaluate import Evaluation, evaluate
from safechain_ray.config import read_config
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from tests.engine.vllm_server import vllm_server
from tests.scripted_api import ScriptedApi, failure, reset, serving
from tools.demo_models.prompts import sample_request

FAULTS = 0.3
TIMEOUT_SECONDS = 20.0
BLOCKED = "fake"
"""The proxy's content filter stops prompts with this word."""


class FaultyProxy:
    """Fails before it forwards, so that no fault is paid for; filters some prompts for good.

    `answered` counts, by seed, the answers for which the client still waited. One that it gave up on, as it may where
    the machine has more to do, is paid for in vain and counts among `faults`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._random = random.Random(7)
        self.faults: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()

    async def __call__(self, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if self._random.random() < FAULTS:
            return await self._fault(request)
        if BLOCKED in body["messages"][-1]["content"]:
            return failure(400, "flagged", code="content_filter")
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.upstream}/chat/completions", json=body) as answer,
        ):
            content = await answer.read()
            if request.transport is None or request.transport.is_closing():
                self.faults["late"] += 1
            else:
                self.answered[body["seed"]] += answer.status == 200
            return web.Response(body=content, status=answer.status, content_type="application/json")

    async def _fault(self, request: web.Request) -> web.StreamResponse:
        kind = self._random.choices(["429", "500", "reset", "garbage", "stall"], [1, 1, 9, 9, 1])[0]
        self.faults[kind] += 1
        match kind:
            case "429":
                return failure(429, "slow down", headers={"Retry-After": "0.2"})
            case "500":
                return failure(500, "out of order")
            case "reset":
                return reset(request)
            case "garbage":
                return web.Response(text="<html>It works!</html>", content_type="text/html")
        await asyncio.sleep(TIMEOUT_SECONDS + 5)
        return failure(504)


def prompts_file(path: Path, prompts: int) -> Path:
    """As many different prompts, of those that the demo reasoner was taught to read."""
    draw = random.Random(11)
    texts: dict[str, None] = {}
    while len(texts) < prompts:
        texts[sample_request(draw, "held_out", harmful=draw.random() < 0.5).text] = None
    pd.DataFrame({"prompt": list(texts)}).to_csv(path, index=False)
    return path


@dataclass
class Finished:
    """An evaluation, what the proxy saw of it, and the course of the limit (seconds, requests at once at most)."""

    prompts: int
    evaluation: Evaluation
    rows: pd.DataFrame
    record: dict[str, Any]
    proxy: FaultyProxy
    api: ScriptedApi
    course: list[tuple[int, int]]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One local Ray for the evaluations of this module."""
    with ray_session(None):
        yield


@pytest.fixture(scope="module", params=[120, pytest.param(500, marks=pytest.mark.long)])
def finished(
    request: pytest.FixtureRequest, local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Finished]:
    output = tmp_path_factory.mktemp("api") / "run"
    course: list[tuple[int, int]] = []

    def watch(snapshot: Snapshot) -> None:
        limit = snapshot.pools["model"].counts["concurrency"] if "model" in snapshot.pools else 0
        if limit and (not course or course[-1][1] != limit):
            course.append((round(snapshot.seconds), limit))

    with vllm_server(output.parent / "server.log") as upstream:
        proxy = FaultyProxy(upstream)
        with serving(proxy) as api:
            flags = {
                "model": {
                    "name": "openai:demo-reasoner",
                    "base_url": api.url,
                    "api": {"timeout_seconds": TIMEOUT_SECONDS, "prices": {"input": 1, "output": 2}},
                },
                "datasets": [str(prompts_file(output.parent / "prompts.csv", request.param))],
                "sampling": {"temperature": 0.8, "max_tokens": 200},
                "judges": ["refusal-match"],
                "output": str(output),
                "resources": {"max_cost": 10, "block_rows": 8, "max_running": 32},
            }
            evaluation = evaluate(read_config(None, flags, ()), RecordingReporter(watch), start_vllm)
            rows = pd.concat(pd.read_parquet(path) for path in output.glob("samples/*.parquet"))
            yield Finished(
                request.param, evaluation, rows, json.loads((output / "run.json").read_text()), proxy, api, course
            )


def test_every_sample_ends_with_an_answer_or_blocked_where_the_filter_was(finished: Finished) -> None:
    rows = finished.rows
    assert len(rows) == len(set(rows.sample_id)) == finished.prompts
    assert set(rows.outcome) <= {"ok", "truncated", "blocked"}
    blocked = rows.prompt.str.contains(BLOCKED)
    assert 0 < blocked.sum() < finished.prompts / 2
    assert (rows.outcome == "blocked").equals(blocked)
    assert set(rows.error[blocked]) == {"400: flagged"}
    assert finished.evaluation.errors == 0


def test_no_sample_is_paid_twice(finished: Finished) -> None:
    answered = finished.rows[finished.rows.outcome != "blocked"]
    assert finished.proxy.answered == dict.fromkeys(answered.seed, 1)


def test_thoughts_are_told_from_answers_as_with_an_engine_of_ones_own(finished: Finished) -> None:
    whole = finished.rows[finished.rows.outcome == "ok"]
    assert whole.response.str.startswith("<think>\n").all()
    assert (whole.thought.str.len() > 0).mean() > 0.9
    assert (whole.answer.str.len() > 0).all()
    assert ((whole.thought_tokens + whole.answer_tokens) > 0).all()
    assert whole.engine.str.contains("demo-reasoner at 127.0.0.1").all()


def test_run_json_tells_requests_retries_tokens_and_cost(finished: Finished) -> None:
    counts = finished.record["tries"][-1]["pools"]["model"]
    assert counts["requests"] == len(finished.api.bodies) == finished.prompts + counts["retries"]
    assert counts["retries"] == finished.proxy.faults.total() > 0.15 * finished.prompts
    paid = finished.rows.prompt_tokens.sum() + 2 * (finished.rows.thought_tokens + finished.rows.answer_tokens).sum()
    assert finished.record["cost_dollars"] == pytest.approx(paid / 1e6, abs=1e-4)


def test_the_limit_fell_and_rose(finished: Finished) -> None:
    print(f"\nrequests at once at most, by second: {finished.course}")
    print(f"faults injected: {dict(finished.proxy.faults)} in {len(finished.api.bodies)} requests")
    limits = [limit for _, limit in finished.course]
    assert 1 <= min(limits) < max(limits) <= 32
    assert finished.api.most_at_once <= 32


def test_the_samples_of_a_prompt_come_from_one_request_where_the_server_has_n(finished: Finished, tmp_path: Path):
    flags = {
        "model": {
            "name": "openai:demo-reasoner",
            "base_url": finished.proxy.upstream,
            "api": {"most_choices": 4},
        },
        "datasets": [{"name": "quickstart", "limit": 8}],
        "samples": 4,
        "sampling": {"temperature": 1.0, "max_tokens": 200},
        "judges": ["refusal-match"],
        "output": str(tmp_path / "run"),
    }
    evaluate(read_config(None, flags, ()), RecordingReporter(), start_vllm)
    rows = pd.concat(pd.read_parquet(path) for path in (tmp_path / "run").glob("samples/*.parquet"))
    assert len(rows) == 8 * 4
    assert set(rows.outcome) <= {"ok", "truncated"}
    assert rows.groupby("prompt_id").response.nunique().mean() > 2
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["tries"][-1]["pools"]["model"]
    assert counts["requests"] == 8
    assert counts["output_tokens"] == (rows.thought_tokens + rows.answer_tokens).sum()
