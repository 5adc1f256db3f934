"""What a request becomes for the installed vLLM: its sampling parameters, and the tags of a bounded thought."""

from pathlib import Path
from typing import Any

import pytest

from safechain_ray.catalog import models
from safechain_ray.engines import vllm as engine
from safechain_ray.engines.start import EngineStart
from safechain_ray.types import Request, Sampling, ThinkingTags

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _vllm_with_budgets() -> None:
    pytest.importorskip("vllm.config.reasoning")


def parameters(**fields: object) -> Any:
    return engine.VllmEngine._sampling_params(Request("Hi", Sampling(), max_tokens=9, **fields), 9)


def test_special_tokens_are_in_the_text_only_where_a_request_asks_for_them():
    assert parameters().skip_special_tokens is True
    assert parameters(skip_special_tokens=False).skip_special_tokens is False


@pytest.mark.parametrize("tokens", [None, 0, 5])
def test_a_budget_is_vllms_thinking_token_budget(tokens: int | None):
    assert parameters(thinking_budget=tokens).thinking_token_budget == tokens


def test_the_tags_of_the_family_bound_a_thought_without_a_reasoning_parser():
    plain = EngineStart(models()["demo-reasoner"], "cpu", Path("/no/log"))
    assert engine._reasoning_arguments(plain) == {}
    bounded = EngineStart(
        models()["demo-reasoner"], "cpu", Path("/no/log"), thinking_tags=ThinkingTags("<think>", "</think>")
    )
    config = engine._reasoning_arguments(bounded)["reasoning_config"]
    assert (config.reasoning_start_str, config.reasoning_end_str) == ("<think>", "</think>")
    assert config.reasoning_parser == ""
