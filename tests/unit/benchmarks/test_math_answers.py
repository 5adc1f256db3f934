"""Extraction of the final answer of a response in mathematics."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.benchmarks.math_grader import final_answer, gold_answer, last_boxed

RESPONSES = {
    r"Thus \boxed{18}.": "18",
    r"First \boxed{3}, but then \boxed{4} apples.": "4",
    r"\[\boxed{\frac{1}{2}}\]": r"\frac{1}{2}",
    r"$\boxed{\left\{ 1, \{2\} \right\}}$": r"\left\{ 1, \{2\} \right\}",
    r"\boxed{ \text{(C)} }": r"\text{(C)}",
    r"\fbox{7}": "7",
    r"\boxed {8}": "8",
    r"\\boxed{9}": "9",
    r"\boxed{\boxed{5}}": "5",
    r"It is \boxed 12 .": "12",
    r"\boxed{6} and then \boxed{": "6",
    r"\boxed{6}, to be put in \boxed{}": "6",
    r"} and { and \boxed{10} }": "10",
    r"Final Answer: The final answer is $\frac{3}{4}$. I hope it is correct.": r"\frac{3}{4}",
    "**Final Answer:** 25": "25",
    "The answer is 5. No, the answer is 6.": "6",
    "The answer is 18 dollars per day.": "18",
    "The answer is $18.": "18",
    "So the final answer is: \\( x = 3 \\)": "x = 3",
    "Answer: east": "east",
    "She has 3 + 4 = 7.\n#### 7": "7",
    "She pays $1,250.50 for 3 of them, that is $3,751.50": "$3,751.50",
    "between 10-20": "20",
    "it falls to -4": "-4",
    "The answer is not 17. It is 18.": "18",
    "The answer is not 17 but rather $\\frac{1}{2}$.": r"\frac{1}{2}",
    "The answer is 18, and not 17.": "18",
    "The answer is 18. The answer is not 17.": "18",
    "It is not 17 but 18, not 19.": "18",
    "The answer is not possible to find.": "not possible to find",
}


@pytest.mark.parametrize("response", RESPONSES)
def test_the_final_answer_is_found(response: str):
    assert final_answer(response) == RESPONSES[response]


@pytest.mark.parametrize(
    "response",
    ["", "I do not know.", "It is not 18.", "The answer is not 18.", r"\boxed{}", r"\boxed{ } {", "The answer is"],
)
def test_a_response_without_one_has_none(response: str):
    assert final_answer(response) is None


def test_a_box_that_is_never_closed_does_not_count_and_what_is_in_it_does_not_either():
    assert final_answer(r"I think that \boxed{\frac{1}{2}") == "2"
    assert last_boxed(r"I think that \boxed{\frac{1}{2}") is None


balanced = st.recursive(
    st.text("ab1+ ^_,.", max_size=5) | st.sampled_from([r"\{", r"\}", r"\frac", r"\\"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "".join(parts) + "}") | inner.map("x{}".format),
    max_leaves=12,
)


@given(st.text(max_size=40), balanced, st.text(max_size=40).filter(lambda text: "box" not in text))
def test_whatever_stands_around_it_the_last_box_is_read_whole(before: str, content: str, after: str):
    # An opening brace of the text before may stay open; a backslash right before would make the box another word.
    response = f"{before} \\boxed{{1{content}}}{after}"
    assert last_boxed(response) == f"1{content}".strip()


@given(st.text(r"\boxedf{}$ answeri:#19.,-*!" + "\n", max_size=200))
def test_no_text_breaks_it(text: str):
    answer = final_answer(text)
    assert answer is None or answer.strip()


@pytest.mark.parametrize(
    "piece",
    [
        r"\boxed{",
        "{",
        "}",
        "\\",
        "answer is ",
        "answer is not 1 ",
        "not ",
        "answer ",
        " ",
        "1,",
        "#### ",
        "$",
        r"\(",
        "-",
        ".",
        "*",
        "\n",
    ],
)
def test_the_longest_responses_take_no_time_worth_mentioning(piece: str):
    text = "answer: " + piece * (200_000 // len(piece))
    started = time.process_time()
    final_answer(text)
    assert time.process_time() - started < 5


def test_gsm8ks_gold_answer_follows_its_mark_and_others_are_as_they_are():
    assert gold_answer("She has 2 * 3 = <<2*3=6>>6.\n#### 1,234") == "1,234"
    assert gold_answer(r" \frac{1}{2} ") == r"\frac{1}{2}"
