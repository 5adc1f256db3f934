"""What vLLM's outputs mean: a completion, a row's error, or the death of the engine."""

from types import SimpleNamespace

import pytest

from safechain_ray.engines.vllm import completion_of
from safechain_ray.errors import EngineDiedError, RowError
from safechain_ray.types import Request, Sampling

REQUEST = Request("a prompt", Sampling(), max_tokens=5, stop=("</think>",))


def output(finish_reason: str, stop_reason: str | int | None = None) -> SimpleNamespace:
    """The attributes of vLLM's RequestOutput that are read."""
    first = SimpleNamespace(
        text="text", token_ids=[1, 2], finish_reason=finish_reason, stop_reason=stop_reason, logprobs=None
    )
    return SimpleNamespace(outputs=[first], prompt_token_ids=[7, 8, 9])


def test_a_completion_has_its_counts_and_its_stop_string():
    done = completion_of(output("stop", "</think>"), REQUEST)
    assert (done.text, done.prompt_tokens, done.completion_tokens) == ("text", 3, 2)
    assert (done.finish_reason, done.stop_string) == ("stop", "</think>")


def test_an_aborted_request_is_the_death_of_its_engine():
    with pytest.raises(EngineDiedError, match="aborted a request"):
        completion_of(output("abort"), REQUEST)


def test_another_end_is_the_rows_error():
    with pytest.raises(RowError, match="'error'"):
        completion_of(output("error"), REQUEST)
