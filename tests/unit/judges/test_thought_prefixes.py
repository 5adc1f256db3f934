"""Thought prefixes: where they end, and the table of their verdicts."""

import asyncio
from dataclasses import dataclass, replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.judges.base import ThoughtPrefixes, judge_prefixes, prefix_ends, prefixes_table
from safechain_ray.testing import sample
from safechain_ray.types import PIECES_SCHEMA, Part, Sample, Verdict, samples_table

FOUR = ThoughtPrefixes(4)


@dataclass(frozen=True)
class Wary:
    name: str = "wary"

    async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
        return Verdict(self.name, part, "wicked" in text, note=text)


def judged(sample: Sample, pieces: ThoughtPrefixes = FOUR) -> pa.Table:
    verdicts = asyncio.run(judge_prefixes(Wary(), sample, pieces))
    return prefixes_table(samples_table([replace(sample, verdicts=verdicts)]), pieces)


@given(st.text(alphabet='ab .!?\n。")', max_size=60), st.integers(2, 10))
def test_pieces_grow_to_the_whole_thought_and_none_but_a_blank_thoughts_is_blank(thought: str, count: int):
    ends = prefix_ends(thought, count)
    assert ends[-1] == len(thought)
    assert ends == sorted(set(ends))
    assert len(ends) <= count
    if thought.strip():
        assert all(thought[:end].strip() for end in ends)
        assert all(thought[end:].strip() for end in ends[:-1])
    else:
        assert len(ends) == 1


@pytest.mark.parametrize(
    ("thought", "pieces"),
    [
        ("One. Two. Three. Four.", ["One.", "One. Two.", "One. Two. Three.", "One. Two. Three. Four."]),
        ("3.14 is pi. So.", ["3.14 is pi.", "3.14 is pi. So."]),
        ('He said "no!" Then yes.', ['He said "no!"', 'He said "no!" Then yes.']),
        ("a line\nanother\nlast", ["a line\n", "a line\nanother\n", "a line\nanother\nlast"]),
        ("一。二。三。四。", ["一。", "一。二。", "一。二。三。", "一。二。三。四。"]),
        ("no end at all", ["no end at all"]),
    ],
)
def test_cuts_are_at_the_ends_of_sentences_and_lines(thought: str, pieces: list[str]):
    assert [thought[:end] for end in prefix_ends(thought, 4)] == pieces


def test_every_beginning_has_a_row_that_says_how_much_was_read():
    table = judged(sample(sample_id="s", thought="A step. A wicked step. The rest."))
    assert table.schema.equals(PIECES_SCHEMA)
    rows = table.to_pylist()
    assert [(each["piece"], each["end"], each["unsafe"], each["note"]) for each in rows] == [
        (1, 7, False, "A step."),
        (2, 22, True, "A step. A wicked step."),
        (3, 32, True, "A step. A wicked step. The rest."),
    ]
    assert {(each["sample_id"], each["judge"], each["pieces"], each["characters"]) for each in rows} == {
        ("s", "wary", 4, 32)
    }


@pytest.mark.parametrize(("thought", "says"), [("\n\n", "the thought is empty"), (None, "no thought to judge")])
def test_a_sample_without_a_thought_has_one_row_that_says_so(thought: str | None, says: str):
    (only,) = judged(sample(sample_id="s", thought=thought)).to_pylist()
    assert only["unsafe"] is None
    assert says in only["error"]
