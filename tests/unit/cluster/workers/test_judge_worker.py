"""Judging blocks in the stream: verdicts are added, and what a judge can't decide is counted."""

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from pydantic import SecretStr

from safechain_ray import testing
from safechain_ray.catalog import judges
from safechain_ray.catalog.judge_entries import JudgeEntry, judging_api
from safechain_ray.cluster.progress import ProgressTracker
from safechain_ray.cluster.workers.judge import EndpointJudge, EngineJudge, RulesAndVotes
from safechain_ray.cluster.workers.writer import BlockWriter, block_counts
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.errors import EngineStartError
from safechain_ray.judges.base import Vote
from safechain_ray.storage import open_folder
from safechain_ray.types import SAMPLES_SCHEMA, Sample, Verdict, samples_from_table, samples_table
from tests.moderation_server import Answer, flags_bombs, moderation_entry, serving
from tests.scripted_api import serving as chat_serving
from tests.unit.cluster.local_actors import GUARD, LocalActor, LocalTracker, engines, start_of

REFUSAL = judges()["refusal-match"]


def sample(name: str, answer: str | None, *verdicts: Verdict, outcome: str = "ok") -> Sample:
    if answer is None:
        nothing = dict.fromkeys(("thought", "answer", "response", "thought_tokens", "answer_tokens"))
        return testing.sample(sample_id=name, prompt="How?", outcome=outcome, verdicts=verdicts, **nothing)
    response = f"<think>\nHm.\n</think>\n\n{answer}"
    return testing.sample(
        sample_id=name,
        prompt="How?",
        answer=answer,
        response=response,
        answer_tokens=4,
        outcome=outcome,
        verdicts=verdicts,
    )


BLOCK = samples_table(
    [sample("refuses", "I cannot help."), sample("complies", "Sure."), sample("failed", None, outcome="error")]
)


def guard(progress_tracker: ProgressTracker, **script: Any) -> EngineJudge:
    assert GUARD.engine is not None
    usual = {"answer": lambda request: "safe", "logprobs": lambda request: ({"safe": -0.1, "unsafe": -2.4},)}
    start_engine = engines(**{**usual, **script})
    told = LocalActor(progress_tracker), LocalTracker()
    return EngineJudge(GUARD, ("response", "answer"), start_of(GUARD.engine), start_engine, 2, *told)


def verdicts(table: pa.Table) -> list[list[tuple[str, str, bool | None]]]:
    assert table.schema.equals(SAMPLES_SCHEMA)
    return [[(v.judge, v.part, v.unsafe) for v in each.verdicts] for each in samples_from_table(table)]


def test_an_engine_judges_every_part_and_a_sample_without_text_is_no_failure_of_the_judge():
    progress_tracker = ProgressTracker()
    judged = asyncio.run(guard(progress_tracker)(BLOCK))
    safe = [("demo-guard", "response", False), ("demo-guard", "answer", False)]
    missing = [("demo-guard", "response", None), ("demo-guard", "answer", None)]
    assert verdicts(judged) == [safe, safe, missing]
    counts = progress_tracker.progress()["demo-guard"].counts
    assert (counts["rows_in"], counts["rows_out"], counts["judge_errors"]) == (3, 3, 0)


def test_a_sample_that_kills_the_judge_has_missing_verdicts_and_the_block_goes_on():
    tracker = ProgressTracker()
    judged = asyncio.run(guard(tracker, dies_on=lambda request: "Sure." in request.prompt)(BLOCK))
    assert tracker.progress()["demo-guard"].counts["judge_errors"] == 2  # response and answer
    assert [each[0][2] for each in verdicts(judged)][1] is None
    error = samples_from_table(judged)[1].verdicts[0].error
    assert error is not None
    assert "2 engines died" in error


def test_a_judge_whose_engine_does_not_start_judges_nothing():
    with pytest.raises(EngineStartError, match="no such judge"):
        asyncio.run(guard(ProgressTracker(), start_error="no such judge")(BLOCK))


def test_rule_judges_put_their_verdicts_behind_those_of_engines():
    judged = RulesAndVotes((REFUSAL,), (), ("response",))(asyncio.run(guard(ProgressTracker())(BLOCK)))
    assert [each[-1] for each in verdicts(judged)] == [
        ("refusal-match", "response", False),
        ("refusal-match", "response", True),
        ("refusal-match", "response", None),
    ]
    assert {len(each) for each in verdicts(judged)} == {3}


def test_without_rule_judges_a_block_passes_as_it_is():
    assert RulesAndVotes((), (), ("response",))(BLOCK) is BLOCK


def test_a_users_phrases_go_along_to_nodes_where_their_file_is_not(tmp_path: Path):
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("Sure\n")
    sent = pickle.dumps(RulesAndVotes((REFUSAL.model_copy(update={"phrases": str(phrases)}),), (), ("answer",)))
    phrases.unlink()
    assert [each[0][2] for each in verdicts(pickle.loads(sent)(BLOCK))] == [True, False, None]


def test_a_committed_block_is_one_file_and_one_row_of_counts(tmp_path: Path):
    folder = open_folder(str(tmp_path))
    judged = RulesAndVotes((REFUSAL,), (), ("response", "answer"))(BLOCK)

    counts = BlockWriter(folder)(judged)

    (name,) = folder.list_files(".parquet")
    assert folder.read_parquet(name).equals(judged)
    assert counts.to_pylist() == [
        {"rows": 3, "ok": 2, "truncated": 0, "blocked": 0, "error": 1, "unsafe": 2, "missing": 2, "tokens": 10}
    ]


def test_a_block_that_is_run_again_replaces_its_own_file_in_whatever_order_its_rows_come(tmp_path: Path):
    folder = open_folder(str(tmp_path))
    BlockWriter(folder)(BLOCK)
    BlockWriter(folder)(BLOCK.take([2, 0, 1]))
    assert len(folder.list_files(".parquet")) == 1
    BlockWriter(folder)(BLOCK.take([0]))
    assert len(folder.list_files(".parquet")) == 2


def test_an_empty_block_leaves_no_file(tmp_path: Path):
    folder = open_folder(str(tmp_path))
    assert BlockWriter(folder)(BLOCK.slice(0, 0)).num_rows == 0
    assert folder.list_files() == []


def test_unjudged_samples_count_no_verdicts():
    assert block_counts(BLOCK)["unsafe"] == block_counts(BLOCK)["missing"] == 0


def test_the_decisions_of_each_judge_are_counted_apart_over_all_parts():
    judged = RulesAndVotes((REFUSAL,), (), ("response", "answer"))(asyncio.run(guard(ProgressTracker())(BLOCK)))
    counts = block_counts(judged, ("demo-guard", "refusal-match", "not-asked"))
    told = {name: count for name, count in counts.items() if name.startswith("verdicts/")}
    assert told == {
        "verdicts/demo-guard/safe": 4,
        "verdicts/demo-guard/unsafe": 0,
        "verdicts/demo-guard/missing": 2,
        "verdicts/refusal-match/safe": 2,
        "verdicts/refusal-match/unsafe": 2,
        "verdicts/refusal-match/missing": 2,
        "verdicts/not-asked/safe": 0,
        "verdicts/not-asked/unsafe": 0,
        "verdicts/not-asked/missing": 0,
    }
    assert block_counts(BLOCK.slice(0, 0), ("demo-guard",)).keys() == block_counts(BLOCK, ("demo-guard",)).keys()


def test_votes_are_counted_last_over_the_verdicts_of_pools_and_rules():
    vote = Vote("either", "any", ("demo-guard", "refusal-match"))
    judged = RulesAndVotes((REFUSAL,), (vote,), ("response",))(asyncio.run(guard(ProgressTracker())(BLOCK)))
    assert [each[-2:] for each in verdicts(judged)] == [
        [("refusal-match", "response", False), ("either", "response", False)],
        [("refusal-match", "response", True), ("either", "response", True)],
        [("refusal-match", "response", None), ("either", "response", None)],
    ]
    error = samples_from_table(judged)[2].verdicts[-1].error
    assert error == "undecided without the verdict of demo-guard and refusal-match"


def test_votes_are_counted_where_no_judge_is_a_rule():
    held = samples_table([sample("s", "Sure.", testing.verdict(True, "a"), testing.verdict(True, "b"))])
    judged = RulesAndVotes((), (Vote("both", "all", ("a", "b")),), ("response",))(held)
    assert verdicts(judged)[0][-1] == ("both", "response", True)


def test_a_worker_of_an_endpoint_brings_the_drivers_key_along(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NODE_KEY", "")  # undone after the test, with what the worker sets
    with serving() as moderation:
        entry = moderation_entry(moderation, api_key_env="NODE_KEY")
        progress_tracker = ProgressTracker()
        judge = EndpointJudge(entry, ("response",), SecretStr("sk-driver"), LocalActor(progress_tracker))
        judged = asyncio.run(judge(BLOCK))
    assert [each[0][2] for each in verdicts(judged)] == [False, False, None]
    assert {request.key for request in moderation.requests} == {"sk-driver"}
    progress = progress_tracker.progress()[entry.name]
    assert (progress.ready, progress.counts["rows_out"], progress.counts["judge_errors"]) == (1, 3, 0)


def test_unsafe_verdicts_on_benign_prompts_are_not_counted_but_missing_ones_are():
    judged = RulesAndVotes((REFUSAL,), (), ("response", "answer"))(BLOCK)
    (dataset,), (category,) = (set(BLOCK[name].to_pylist()) for name in ("dataset", "category"))
    counts = block_counts(judged, ("refusal-match",), {dataset: (category,)})
    assert (counts["rows"], counts["unsafe"], counts["missing"]) == (3, 0, 2)
    assert (counts["verdicts/refusal-match/unsafe"], counts["verdicts/refusal-match/missing"]) == (0, 2)
    assert block_counts(judged, (), {dataset: ("another",), "another": (category,)})["unsafe"] == 2


def test_an_endpoint_whose_error_holds_half_of_a_surrogate_pair_costs_one_verdict():
    half = Answer(400, rb'{"error": {"message": "no: \ud83d"}}')
    with serving(answer=lambda text: half if "Sure" in text else flags_bombs(text)) as moderation:
        judge = EndpointJudge(moderation_entry(moderation), ("response",), None, LocalActor(ProgressTracker()))
        table = asyncio.run(judge(BLOCK))
    errors = [each.verdicts[0].error for each in samples_from_table(table)]
    assert errors[0] is None
    assert "no: \ufffd" in str(errors[1])


RUBRIC: dict[str, Any] = {
    "name": "rubric",
    "kind": "template",
    "request": {"messages": [{"role": "user", "content": "{prompt} / {response}"}], "max_tokens": 50},
    "answers": {"verdict": {"pattern": "^verdict: (.*)$", "values": {"bad": "unsafe", "good": "safe"}}},
    "endpoint": {"base_url": "http://localhost", "model": "chat-1", "api_key_env": "NODE_KEY"},
}


async def grade(body: dict[str, Any], request: web.Request) -> web.Response:
    word = "bad" if "Sure" in body["messages"][-1]["content"] else "good"
    message = {"reasoning_content": "verdict: good", "content": f"I see.\nverdict: {word}"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})


def test_a_form_is_asked_of_a_chat_api_with_the_drivers_key_and_the_reasoning_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("NODE_KEY", "")  # undone after the test, with what the worker sets
    with chat_serving(grade) as api:
        entry = JudgeEntry.model_validate({**RUBRIC, "endpoint": {**RUBRIC["endpoint"], "base_url": api.url}})
        judge = EngineJudge(
            entry,
            ("response",),
            ApiStart(judging_api(entry)),
            start_api,
            2,
            LocalActor(ProgressTracker()),
            LocalTracker(),
            key=SecretStr("sk-driver"),
        )
        held = samples_table([sample("a", "Sure."), sample("b", "No.")])
        judged = asyncio.run(judge(held))
    assert [each[0] for each in verdicts(judged)] == [("rubric", "response", True), ("rubric", "response", False)]
    assert {headers["Authorization"] for headers in api.headers} == {"Bearer sk-driver"}
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in api.bodies} == {("chat-1", 0.0, 50)}
