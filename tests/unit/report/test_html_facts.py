"""The facts of a run on its page: what run.json holds, for engines of one's own and for APIs, finished or cut off."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.report.html.run import run_facts
from safechain_ray.runs.run_file import RunFile
from tests.made_runs.by_samples import sample, setting, write_run


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    only = setting()
    write_run(tmp_path, [only], [sample(only, 0)], [("guard", "response")])
    return json.loads((tmp_path / "run.json").read_text())


def facts(record: dict[str, Any]) -> str:
    return run_facts(RunFile.model_validate(record))


def text(record: dict[str, Any]) -> str:
    """The words of the facts, line ends as spaces."""
    words: list[str] = []
    parser = HTMLParser()
    parser.handle_data = words.append
    parser.feed(facts(record))
    return " ".join(" ".join(words).split())


def test_model_data_judges_and_versions_are_told(record: dict[str, Any]):
    told = text(record)
    for words in (
        "tiny (org/tiny at 0123456789ab) bfloat16",
        "small: 1 prompts from small.csv",
        "guard (llama_guard)",
        "10 prompt, 20 thought, 30 answer",
        "2026-11-21 10:13 UTC",
        "vllm 0.32.0",
    ):
        assert words in told


def test_a_try_is_told_with_its_time_hardware_and_pools(record: dict[str, Any]):
    told = text(record)
    assert "1 2026-11-21 10:00 UTC 2026-11-21 10:12 UTC 12.5 done 0 gpu-1: 8 logical CPUs, 1 GPUs, 64 GB" in told
    assert "model: 1 rows received, 1,000 tokens" in told


def test_a_try_that_was_cut_off_has_no_end(record: dict[str, Any]):
    record["tries"][0] |= {"ended": None, "status": "cut off"}
    assert "2026-11-21 10:00 UTC cut off 0" in text(record)


def test_an_api_is_told_with_its_address_and_what_it_cost(record: dict[str, Any]):
    record["identity"]["model"] = {"name": "R1", "api_model": "reasoner", "base_url": "https://api.example.org/v1"}
    record["cost_dollars"] = 12.3456
    told = text(record)
    assert "R1 (reasoner at https://api.example.org/v1)" in told
    assert "$12.35 paid to providers" in told


def test_votes_and_judges_that_were_added_later_are_told(record: dict[str, Any]):
    record["identity"]["votes"] = [{"name": "either", "rule": "any", "judges": ["guard", "match"]}]
    record["added"] = {"late": {"identity": {"name": "late"}, "parts": ["thought", "answer"]}}
    assert "guard (llama_guard); either (any of guard, match); late (added later, thought, answer)" in text(record)


def test_the_config_is_there_line_by_line(record: dict[str, Any]):
    assert '<pre tabindex="0">{\n  "model": {\n    "name": "tiny"' in run_facts(RunFile.model_validate(record)).replace(
        "&quot;", '"'
    )
