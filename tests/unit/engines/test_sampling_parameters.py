"""What a request becomes for the installed vLLM: its sampling parameters, and the tags of a bounded thought."""

from pathlib import Path
from types import SimpleNamespace
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


OPEN, CLOSE, WORD, BREAK = 1, 2, 3, 4
"""Token ids: the tags, any word, a line break."""


def generated_until_forced(budget: int, prompt: list[int], written: list[int]) -> int:
    """Tokens that a model generates after `written`, before vLLM forces the closing tag; the model writes words."""
    import torch
    from vllm.v1.sample.logits_processor.interface import BatchUpdate
    from vllm.v1.sample.thinking_budget_state import ThinkingBudgetStateHolder

    config: Any = SimpleNamespace(reasoning_start_token_ids=[OPEN], reasoning_end_token_ids=[CLOSE])
    holder = ThinkingBudgetStateHolder(config, 1, 0, torch.device("cpu"), False)
    output: list[int] = []
    row = (0, parameters(thinking_budget=budget), prompt, output)
    holder.sync_batch(BatchUpdate(batch_size=1, removed=[], added=[row], moved=[]))
    while len(output) < 50:
        holder.update_state([output], None)
        logits = torch.zeros(1, 10)
        logits[0, written[len(output)] if len(output) < len(written) else WORD] = 1
        token = int(holder.apply_to_logits(logits, False, None).argmax())
        if token == CLOSE:
            return len(output) - len(written)
        output.append(token)
    raise AssertionError("no closing tag was forced")


@pytest.mark.parametrize("budget", [1, 5, 20])
def test_a_thought_that_the_model_opens_has_as_many_tokens_as_the_budget(budget: int):
    assert generated_until_forced(budget, prompt=[WORD], written=[OPEN]) == budget


@pytest.mark.parametrize("budget", [2, 5, 20])
def test_the_line_break_of_a_template_that_opens_the_thought_counts(budget: int):
    assert generated_until_forced(budget, prompt=[WORD, OPEN, BREAK], written=[]) == budget - 1


def test_a_budget_of_nothing_closes_the_thought_at_once():
    assert generated_until_forced(0, prompt=[WORD, OPEN, BREAK], written=[]) == 0
