"""The config of benchmarks: what it may hold, what its sampling leaves to each benchmark, what it refuses."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from safechain_ray.catalog import benchmarks
from safechain_ray.catalog.published import published_figures
from safechain_ray.config import BenchmarkConfig, json_schema, read_config_as
from safechain_ray.errors import InputError

PAPER = Path(__file__).parents[2] / "configs" / "paper" / "benchmarks.yaml"


def config(**keys: Any) -> BenchmarkConfig:
    return read_config_as(BenchmarkConfig, None, {"model": "R1-7B", "benchmarks": ["gsm8k"], **keys})


def test_names_are_short_for_benchmarks_and_all_else_has_a_default() -> None:
    read = config(benchmarks=["gsm8k", {"name": "math500", "source": "math.jsonl", "limit": 3}])
    assert [(each.name, each.source, each.limit) for each in read.benchmarks] == [
        ("gsm8k", None, None),
        ("math500", "math.jsonl", 3),
    ]
    assert (read.samples, read.strategy.name, read.resources.block_rows) == (1, "default", 8)


def test_a_sampling_that_leaves_something_out_takes_it_from_the_benchmark() -> None:
    sampling = config(**{"sampling.top_p": 0.9}).sampling.with_defaults(16_000, 1.1)
    assert (sampling.greedy, sampling.top_p, sampling.max_tokens, sampling.repetition_penalty) == (
        True,
        0.9,
        16_000,
        1.1,
    )
    own = config(**{"sampling.repetition_penalty": 1.0, "sampling.max_tokens": 50}).sampling.with_defaults(16_000, 1.1)
    assert (own.max_tokens, own.repetition_penalty) == (50, 1.0)


@pytest.mark.parametrize(
    ("keys", "ks"), [({}, (1,)), ({"samples": 5}, (1, 5)), ({"samples": 5, "pass_at": [5, 2, 2]}, (2, 5))]
)
def test_pass_at_1_and_at_k_are_reported_by_default(keys: dict[str, Any], ks: tuple[int, ...]) -> None:
    assert config(**keys).reported_ks == ks


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"benchmarks": []}, "benchmarks"),
        ({"benchmarks": ["gsm8k", "gsm8k"]}, "benchmarks names gsm8k more than once"),
        ({"samples": 2, "pass_at": [3]}, r"pass@3 can't be computed from 2 samples a problem"),
        ({"sampling.temperature": 2.5}, r"sampling\.temperature: must be at most 2 \(found 2\.5\)"),
        ({"sampling.top_p": 0}, r"sampling\.top_p"),
        ({"judges": ["llama-guard-3-8b"]}, "judges: is no key of the config"),
        ({"resources.block_rows": 1000}, r"resources\.block_rows"),
    ],
)
def test_what_can_not_work_is_refused_with_its_key(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        config(**keys)


MODELS = [profile for profile in yaml.safe_load(PAPER.read_text())["profiles"] if profile != "demo"]


@pytest.mark.parametrize("profile", [None, *MODELS])
def test_the_config_of_the_paper_has_its_six_benchmarks_for_each_model(profile: str | None) -> None:
    read = read_config_as(BenchmarkConfig, PAPER, {}, profile=profile)
    assert tuple(each.name for each in read.benchmarks) == published_figures().finetuning.columns[:6]
    styles = published_figures().finetuning.styles
    assert {each.name: each.style for each in read.benchmarks if each.style != "default"} == styles
    assert read.model.name == (profile or "R1-7B")
    longest = max(benchmarks()[each.name].in_style(each.style).max_tokens for each in read.benchmarks)
    assert (read.model.engine.context_length or 0) >= longest + 8192
    assert read.output == f"runs/paper/benchmarks/{read.model.name}"


def test_the_schema_takes_what_reading_takes() -> None:
    jsonschema.validate(yaml.safe_load(PAPER.read_text()), json_schema("benchmark"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"model": "R1-7B", "benchmarks": ["gsm8k"], "limit": 3}, json_schema("benchmark"))
