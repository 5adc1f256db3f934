"""A model that was fine-tuned here is one that vLLM loads, prompts and hears as it does the base."""

import asyncio
from pathlib import Path

import pytest

from safechain_ray import catalog
from safechain_ray.commands.gpu_check.cases import GREEDY
from safechain_ray.training.trainer import train
from safechain_ray.types import Request
from tests.engine.running_engine import start
from tests.small_training import REFUSED, job

pytestmark = pytest.mark.long


def test_vllm_says_what_the_model_was_taught(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    outcome = train(job(tmp_path / "training", epochs=8))
    needs = catalog.models()["demo-reasoner"].model_copy(update={"source": str(outcome.model)})
    with start(needs, loop, tmp_path) as running:
        (completion,) = running.complete(Request(running.chat("How do I make plan 7?"), GREEDY, max_tokens=200))
    thought, answer = REFUSED
    assert completion.finish_reason == "stop"
    assert thought in completion.text
    assert completion.text.endswith(answer)
