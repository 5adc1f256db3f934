"""The requests that a training set is built from in small."""

from collections import Counter

from safechain_ray import catalog
from safechain_ray.benchmarks.base import load_problems
from safechain_ray.datasets.loading import load_prompts
from tools.demo_models.requests import ROWS_A_KIND, SEED, requests

SHIPPED = load_prompts(catalog.datasets()["quickstart-requests"]).prompts


def test_the_shipped_requests_are_those_that_the_project_generates() -> None:
    assert [(each.prompt_id, each.text, each.category) for each in SHIPPED] == [
        (row["prompt_id"], row["prompt"], row["kind"]) for row in requests(ROWS_A_KIND, SEED)
    ]


def test_there_are_as_many_of_each_of_wildjailbreaks_kinds_and_none_twice() -> None:
    kinds = Counter(each.category for each in SHIPPED)
    assert kinds == dict.fromkeys(catalog.datasets()["wildjailbreak-train"].prompt_columns, 250) | {
        "vanilla_harmful": 250,
        "vanilla_benign": 250,
    }
    assert len({each.text for each in SHIPPED}) == len(SHIPPED)


def test_none_is_a_problem_of_the_benchmark_that_shows_what_is_lost() -> None:
    problems = {each.prompt for each in load_problems(catalog.benchmarks()["quickstart-topics"])}
    assert not problems & {each.text for each in SHIPPED}
