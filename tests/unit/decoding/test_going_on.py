"""MoreThink goes on where it was cut off: call by call what it would have done undisturbed."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from safechain_ray.decoding.morethink import MoreThinkOptions, build
from safechain_ray.errors import EngineDiedError
from safechain_ray.types import Completion, Request
from tests.unit.decoding.scripted_generate import closes, count_words, decode, ends, runs_out, task

ROUNDS = [closes("one ", 10), closes("two ", 10), closes("three ", 10), closes("four ", 10)]
WAYS = {
    "answered after all rounds": (ROUNDS, ends("answer", 5)),
    "out of thinking budget": (ROUNDS[:3], runs_out("cut ", 18), ends("answer", 5)),
    "ended inside the thought": (ROUNDS[:2], ends("never closed", 4)),
}


@pytest.mark.parametrize("compat", ["none", "paper"])
@pytest.mark.parametrize("way", WAYS)
def test_a_response_cut_off_at_any_call_goes_on_with_that_call(compat: str, way: str):
    strategy = build(MoreThinkOptions(max_rounds=3, think_budget=50, compat=compat))
    first, *rest = WAYS[way]
    replies = [*first, *rest, ends("more", 3), ends("still more", 3)]
    undisturbed, requests = decode(strategy, task(), *replies)

    for cut in range(1, len(requests)):
        checkpoint: Mapping[str, Any] = {}

        def save_checkpoint(what: Mapping[str, Any]) -> None:
            nonlocal checkpoint
            checkpoint = what

        calls = iter(replies[:cut])

        async def dying(request: Request, calls: Any = calls) -> Completion:
            for reply in calls:
                return reply
            raise EngineDiedError("its node is gone")

        with pytest.raises(EngineDiedError):
            asyncio.run(strategy.decode(replace(task(), save_checkpoint=save_checkpoint), dying, count_words))
        stored = json.loads(json.dumps(checkpoint))
        again, asked = decode(strategy, replace(task(), checkpoint=stored), *replies[cut:])

        assert again == undisturbed
        assert asked == requests[cut:]


@pytest.mark.parametrize("compat", ["none", "paper"])
@pytest.mark.parametrize(
    "changed", [{"of a later version": 1}, {"rounds": -1}, {"rounds": 10**9}, {"text": 3}, {"rounds": None}], ids=str
)
def test_kept_rounds_that_no_strategy_wrote_are_passed_over(compat: str, changed: Mapping[str, Any]):
    strategy = build(MoreThinkOptions(max_rounds=3, think_budget=50, compat=compat))
    replies = [*ROUNDS, ends("answer", 5)]
    checkpoint: list[Mapping[str, Any]] = []
    undisturbed, requests = decode(strategy, replace(task(), save_checkpoint=checkpoint.append), *replies)
    again, asked = decode(strategy, replace(task(), checkpoint={**checkpoint[0], **changed}), *replies)
    assert (again, asked) == (undisturbed, requests)
