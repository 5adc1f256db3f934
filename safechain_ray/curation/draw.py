"""Prompts drawn from a set, equally many of each kind: by a seed, whatever the order of the rows."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from safechain_ray.types import Prompt, short_hash

UNUSABLE = "no prompt, or a repeated one"
NOT_DRAWN = "not drawn"

Objection = Callable[[Prompt], str | None]
"""Why a prompt may not be drawn, None where it is drawn. Asked once of each, in the order of the draw."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The prompts in the order in which they were drawn; how many rows there were, and why others were left out.

    Both counts are by kind.
    """

    prompts: tuple[Prompt, ...]
    rows: Mapping[str, int]
    left_out: Mapping[str, Mapping[str, int]]


def no_objection(prompt: Prompt) -> None:
    """Every prompt may be drawn."""


def draw_prompts(prompts: Iterable[Prompt], number: int | None, seed: int, objection: Objection = no_objection) -> Draw:
    """Draw `number` prompts, or all of them.

    The kinds take turns, so that each gives equally many; one that runs out leaves its turns to the others. A prompt's
    category is its kind. A prompt with an error is never drawn.
    """
    rows: Counter[str] = Counter()
    left_out: dict[str, Counter[str]] = {UNUSABLE: Counter()}
    of_kind: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        rows[prompt.category] += 1
        if prompt.error is None:
            of_kind.setdefault(prompt.category, []).append(prompt)
        else:
            left_out[UNUSABLE][prompt.category] += 1
    turns = deque(
        deque(sorted(of_kind[kind], key=lambda prompt: short_hash(seed, prompt.prompt_id))) for kind in sorted(of_kind)
    )
    drawn: list[Prompt] = []
    while turns and (number is None or len(drawn) < number):
        waiting = turns.popleft()
        while waiting:
            prompt = waiting.popleft()
            reason = objection(prompt)
            if reason is None:
                drawn.append(prompt)
                break
            left_out.setdefault(reason, Counter())[prompt.category] += 1
        if waiting:
            turns.append(waiting)
    left_out[NOT_DRAWN] = Counter(prompt.category for waiting in turns for prompt in waiting)
    return Draw(tuple(drawn), rows, left_out)
