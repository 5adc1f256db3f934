"""A training set and benchmarks of a model behind an API, on a real Ray cluster: thoughts, grades, requests."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from safechain_ray.commands.benchmark import benchmark
from safechain_ray.commands.build_dataset import build_dataset
from safechain_ray.config import BenchmarkConfig, BuildConfig, read_config_as
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.types import Request, Sampling
from tests.cluster.scripted_runs import API_KEY, API_KEY_ENV, Runner
from tests.made_runs.by_draw import prompt_file
from tests.sandboxes import needs_sandbox
from tests.scripted_api import ScriptedApi, chat, serving
from tests.small_benchmarks import FUNCTIONS, SUMS, answer, functions_file, sums_file

pytestmark = pytest.mark.usefixtures("one_driver")


def common(api: ScriptedApi, run: Runner) -> dict[str, Any]:
    return {
        "model": {"name": "openai:model-1", "base_url": api.url, "api_key_env": API_KEY_ENV},
        "sampling.max_tokens": 100,
        "output": str(run.output),
        "resources.ray_address": run.address,
        "resources.block_rows": 4,
    }


def asked(body: dict[str, Any]) -> str:
    text: str = body["messages"][-1]["content"]
    return text


WITHHELD, CUT = 5, 9
"""Numbers of prompts that the provider does not answer, and whose thoughts it breaks off."""


async def fixing(body: dict[str, Any], request: web.Request) -> web.Response:
    """Thoughts as providers hand them over: apart, in the text, in a text whose template opened them, or not at all."""
    number = int(asked(body).partition("number ")[2].rstrip("?"))
    thought, refusal = f"They ask for {number}.", f"I'm sorry, I can't fix {number}."
    if number == WITHHELD:
        return chat("", finish_reason="content_filter")
    if number == CUT:
        return chat("", finish_reason="length", reasoning_content=thought)
    match number % 4:
        case 0:
            return chat(refusal, reasoning_content=thought)
        case 1:
            return chat(f"<think>\n{thought}\n</think>\n\n{refusal}")
        case 2:
            return chat(f"{thought}\n</think>\n\n{refusal}")
        case _:
            return chat(refusal)


def test_thoughts_of_an_api_stand_between_the_tags_of_the_training_set(run: Runner, tmp_path: Path) -> None:
    prompts = {"name": str(prompt_file(tmp_path, 12)), "id_column": "id", "kind_column": "kind"}
    with serving(fixing) as api:
        keys = common(api, run) | {"prompts": prompts, "samples": 2, "judges": ["refusal-match"]}
        built = build_dataset(read_config_as(BuildConfig, None, keys), RecordingReporter(), start_vllm)
    rows = [row for name in built.facts.files for row in pq.read_table(run.output / name).to_pylist()]
    assert {row["prompt_id"]: [turn["content"] for turn in row["messages"]] for row in rows} == {
        f"p{number}": [
            f"How does one fix roof number {number}?",
            f"<think>\nThey ask for {number}.\n</think>\n\nI'm sorry, I can't fix {number}.",
        ]
        for number in range(12)
        if number % 4 != 3 and number not in (WITHHELD, CUT)
    }
    outcomes = {each.outcome: each.count for each in built.facts.responses if each.outcome != "ok"}
    assert outcomes == {"blocked": 2, "truncated": 2}
    assert built.facts.model.source == "model-1 at 127.0.0.1"
    assert len(api.bodies) == 24
    assert not any(API_KEY.encode() in file.read_bytes() for file in run.output.rglob("*") if file.is_file())


async def solving(body: dict[str, Any], request: web.Request) -> web.Response:
    thought, closed, text = answer(Request(asked(body), Sampling(), 100)).partition("</think>")
    if not closed:
        return chat("", finish_reason="length", reasoning_content=thought)
    return chat(text.strip(), reasoning_content=thought)


@needs_sandbox
def test_answers_of_an_api_are_graded_and_code_is_asked_for_with_its_repetition_penalty(
    run: Runner, tmp_path: Path
) -> None:
    files = {"gsm8k": sums_file(tmp_path), "mbpp": functions_file(tmp_path)}
    chosen = [{"name": name, "source": str(path)} for name, path in files.items()]
    with serving(solving) as api:
        config = read_config_as(BenchmarkConfig, None, common(api, run) | {"benchmarks": chosen})
        done = benchmark(config, RecordingReporter(), start_vllm)
    sums, functions = done.metrics.benchmarks
    assert (sums.grades.pass_at[1].value, functions.grades.pass_at[1].value) == (0.5, 0.25)
    assert (sums.outcomes["truncated"], sums.grades.missing, functions.grades.missing) == (SUMS // 4, 0, 0)
    assert len(run.rows) == len(api.bodies) == SUMS + FUNCTIONS
    assert all(row["thought"] for row in run.rows)
    penalties = {("plus" in asked(body), body.get("repetition_penalty")) for body in api.bodies}
    assert penalties == {(True, None), (False, 1.1)}
