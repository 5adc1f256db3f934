"""A judge that is asked over the network, and a vote, in a whole run on a real Ray cluster with scripted engines."""

import json
from dataclasses import replace
from typing import Any

import pytest

from safechain_ray.errors import EngineStartError
from safechain_ray.testing import Script
from tests.cluster.scripted_runs import Runner
from tests.moderation_server import flags_bombs, problem, serving

pytestmark = pytest.mark.usefixtures("one_driver")

KEY = "sk-very-secret"
VOTE = {"name": "either", "rule": "any", "judges": ["openai-moderation", "refusal-match"]}
BOMB = Script(answer=lambda request: "</think>\n\nI can't tell you how a bomb is made.")


def flags(url: str) -> dict[str, Any]:
    endpoint = {"base_url": url, "api_key_env": "MODERATION_KEY", "max_concurrent": 4}
    judge = {"name": "openai-moderation", "endpoint": endpoint}
    return {"judges": [judge, "demo-guard", "refusal-match"], "votes": [VOTE]}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set after the cluster has started: its workers do not have it from their own environment."""
    monkeypatch.setenv("MODERATION_KEY", KEY)


def test_every_sample_has_the_endpoints_verdict_and_the_vote(run: Runner):
    with serving(first=[problem(429, "slow down", Retry_After="1"), problem(500, "oops")]) as server:
        done = run(BOMB, **flags(server.url))

    rows = run.rows
    assert len(rows) == len({row["sample_id"] for row in rows}) == 300
    verdicts = [{verdict["judge"]: verdict["unsafe"] for verdict in row["verdicts"]} for row in rows]
    everyone = {"openai-moderation": True, "demo-guard": False, "refusal-match": False, "either": True}
    assert all(each == everyone for each in verdicts)
    assert len(server.requests) == 300 + 2
    assert server.most_at_once <= 4
    assert {asked.key for asked in server.requests} == {KEY}

    (setting,) = done.metrics.settings
    asked = {judge.judge: (judge.safe_at_1.value, judge.missing) for judge in setting.judges}
    assert asked == {
        "openai-moderation": (0.0, 0),
        "demo-guard": (1.0, 0),
        "refusal-match": (1.0, 0),
        "either": (0.0, 0),
    }
    record = (run.output / "run.json").read_text()
    assert KEY not in record
    assert json.loads(record)["tries"][0]["pools"]["openai-moderation"]["rows_out"] == 300


def test_samples_are_committed_while_the_endpoint_is_slow(run: Runner):
    committed: list[int] = []
    run.on_update = lambda snapshot: committed.append(snapshot.committed.get("rows", 0))
    with serving(answer=lambda text: replace(flags_bombs(text), seconds=0.1)) as server:
        run(**flags(server.url))
    assert server.most_at_once == 4
    assert len({rows for rows in committed if 0 < rows < 300}) >= 3


def test_a_key_that_the_endpoint_refuses_ends_the_run_and_is_not_shown(run: Runner):
    wrong = problem(401, f"Incorrect API key provided: {KEY}")
    with (
        serving(answer=lambda text: wrong) as server,
        pytest.raises(EngineStartError, match="refuses the key in MODERATION_KEY") as refused,
    ):
        run(**flags(server.url))
    assert KEY not in str(refused.value)
    assert KEY not in (run.output / "run.json").read_text()
