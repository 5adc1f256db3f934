"""The benchmarks of the catalog: those of the paper, with its sampling, and where each constant comes from."""

import pytest

from safechain_ray.catalog import benchmarks
from safechain_ray.catalog.published import published_figures
from safechain_ray.errors import UnknownNameError

PAPER = {"gsm8k": 1319, "math500": 500, "aime24": 30, "humaneval": 164, "mbpp": 378, "livecodebench": 880}
CODE = {"humaneval", "mbpp", "mbpp-full", "livecodebench"}


def test_the_papers_six_benchmarks_are_there_with_their_numbers_of_problems():
    assert {name: benchmarks()[name].rows for name in PAPER} == PAPER


@pytest.mark.parametrize("name", benchmarks())
def test_repetition_is_penalised_for_code_as_published_and_for_nothing_else(name: str):
    entry = benchmarks()[name]
    assert entry.repetition_penalty == (1.1 if name in CODE else 1.0)
    assert entry.grader.startswith("code_") == (name in CODE)


@pytest.mark.parametrize("name", [name for name, entry in benchmarks().items() if entry.kind != "package"])
def test_a_benchmark_is_pinned_and_says_its_licence_and_where_its_prompt_comes_from(name: str):
    entry = benchmarks()[name]
    assert entry.revision is not None
    assert len(entry.revision) == 40
    assert entry.licence
    assert "/" in entry.prompt_source


# The paper's figures in percent, in its order of models: R1-7B base, WJ-40K, SafeChain, then R1-8B.
FIGURES = {
    "math500": (83.4, 79.4, 83.6, 86.6, 70.0, 83.2),
    "aime24": (40.0, 33.3, 33.3, 16.7, 16.7, 43.3),
    "humaneval": (39.0, 62.2, 63.4, 45.1, 51.2, 54.9),
    "mbpp": (38.9, 48.9, 49.7, 28.3, 28.6, 29.9),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_papers_figures_are_shares_of_so_many_problems(name: str):
    rows = benchmarks()[name].rows
    assert rows is not None
    shares = {round(100 * solved / rows, 1) for solved in range(rows + 1)}
    assert shares.issuperset(FIGURES[name])


INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n```\n"
)


def test_the_paper_ran_code_in_styles_of_other_tools():
    assert published_figures().finetuning.styles == {
        "humaneval": "evalplus",
        "mbpp": "evalplus",
        "livecodebench": "skythought",
    }


@pytest.mark.parametrize("name", ["humaneval", "mbpp", "mbpp-full"])
def test_evalplus_asks_with_its_instruction_and_at_most_768_tokens_without_a_thought(name: str):
    style = benchmarks()[name].in_style("evalplus")
    assert style.prompt.startswith(INSTRUCTION)
    assert style.prompt.endswith("\n```\n")
    assert (style.max_tokens, style.strategy, style.repetition_penalty) == (768, "evalplus", 1.1)
    assert style.grader.endswith("_evalplus")
    assert style.strip is (name == "humaneval")


def test_skythought_shows_no_starter_code_and_takes_32768_tokens():
    style = benchmarks()["livecodebench"].in_style("skythought")
    assert "starter_code" not in style.prompt
    assert style.prompt_without == benchmarks()["livecodebench"].prompt_without
    assert (style.max_tokens, style.strategy, style.grader) == (32768, "default", "code_tests_skythought")


def test_a_style_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UnknownNameError, match=r"Unknown style of benchmark mbpp 'evalpuls'\. Did you mean 'evalplus'"):
        benchmarks()["mbpp"].in_style("evalpuls")
