"""Drawing of prompts: balanced over the kinds, reproducible by seed, every prompt accounted for."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.curation.overlap import NOT_DRAWN, UNUSABLE, draw_prompts
from safechain_ray.types import Prompt


def of_kinds(**sizes: int) -> list[Prompt]:
    return [
        Prompt(f"{kind}-{number}", f"How {number}?", kind) for kind, size in sizes.items() for number in range(size)
    ]


def kinds(prompts: tuple[Prompt, ...]) -> Counter[str]:
    return Counter(prompt.category for prompt in prompts)


def test_each_kind_gives_equally_many():
    drawn = draw_prompts(of_kinds(a=50, b=20, c=30), 30, seed=1)
    assert kinds(drawn.prompts) == {"a": 10, "b": 10, "c": 10}
    assert drawn.left_out[NOT_DRAWN] == {"a": 40, "b": 10, "c": 20}


def test_a_kind_that_runs_out_leaves_its_turns_to_the_others():
    assert kinds(draw_prompts(of_kinds(a=50, b=3), 13, seed=1).prompts) == {"a": 10, "b": 3}
    assert len(draw_prompts(of_kinds(a=5, b=3), 13, seed=1).prompts) == 8


def test_without_a_number_all_are_drawn():
    drawn = draw_prompts(of_kinds(a=5, b=3), None, seed=1)
    assert len(drawn.prompts) == 8
    assert not drawn.left_out[NOT_DRAWN]


def test_another_seed_draws_others():
    prompts = of_kinds(a=100)
    assert {p.prompt_id for p in draw_prompts(prompts, 10, 1).prompts} != {
        p.prompt_id for p in draw_prompts(prompts, 10, 2).prompts
    }


@given(
    sizes=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 12), min_size=1),
    number=st.none() | st.integers(1, 30),
    shuffle=st.randoms(use_true_random=False),
    bad=st.integers(0, 3),
)
def test_the_draw_is_the_same_in_any_order_of_rows_and_adds_up(
    sizes: dict[str, int], number: int | None, shuffle: random.Random, bad: int
):
    prompts = of_kinds(**sizes) + [Prompt(f"bad-{each}", "", "a", "the prompt is empty") for each in range(bad)]
    other = list(prompts)
    shuffle.shuffle(other)
    drawn, again = draw_prompts(prompts, number, 7), draw_prompts(other, number, 7)
    assert drawn.prompts == again.prompts
    assert drawn.left_out == again.left_out
    assert drawn.left_out[UNUSABLE].get("a", 0) == bad
    for kind in drawn.rows:
        left_out = sum(counts.get(kind, 0) for counts in drawn.left_out.values())
        assert drawn.rows[kind] == left_out + kinds(drawn.prompts)[kind]


def test_what_is_objected_to_is_counted_and_another_one_takes_its_turn():
    drawn = draw_prompts(
        of_kinds(a=10, b=10), 10, seed=1, objection=lambda p: "odd" if int(p.prompt_id[2:]) % 2 else None
    )
    assert kinds(drawn.prompts) == {"a": 5, "b": 5}
    assert all(int(prompt.prompt_id[2:]) % 2 == 0 for prompt in drawn.prompts)
    assert sum(drawn.left_out["odd"].values()) + sum(drawn.left_out[NOT_DRAWN].values()) == 10
