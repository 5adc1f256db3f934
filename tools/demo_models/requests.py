"""`python -m tools.demo_models.requests`: requests to build a training set from, in the four kinds of WildJailbreak.

Adversarial requests are among unrelated sentences. No request is a problem of the demo reasoner's benchmark.
"""

import csv
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from random import Random

from tools.demo_models.prompts import sample_request
from tools.demo_models.topic_problems import ROWS as PROBLEMS
from tools.demo_models.topic_problems import SEED as PROBLEM_SEED
from tools.demo_models.topic_problems import problems

FILE = "datasets/data/quickstart_requests.csv"
ROWS_A_KIND, SEED = 250, 40
MOST_FILLERS = 3


def requests(rows_a_kind: int, seed: int) -> Iterator[dict[str, str]]:
    """Rows of an id, a prompt and its kind, the kinds in turn; no prompt is repeated."""
    rng = Random(seed)
    asked: set[str] = {str(problem["prompt"]) for problem in problems(PROBLEMS, PROBLEM_SEED)}
    for number in range(1, rows_a_kind + 1):
        for disguise in ("vanilla", "adversarial"):
            for intent in ("harmful", "benign"):
                prompt = _new(rng, asked, intent == "harmful", disguise == "adversarial")
                asked.add(prompt)
                yield {
                    "prompt_id": f"{disguise}-{intent}-{number:03}",
                    "prompt": prompt,
                    "kind": f"{disguise}_{intent}",
                }


def _new(rng: Random, asked: set[str], harmful: bool, adversarial: bool) -> str:
    while True:
        fillers = rng.randint(1, MOST_FILLERS) if adversarial else 0
        request = sample_request(rng, "train", harmful, fillers)
        if not request.system and request.text not in asked:
            return request.text


def main() -> None:
    with Path(str(files("safechain_ray") / FILE)).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["prompt_id", "prompt", "kind"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(requests(ROWS_A_KIND, SEED))


if __name__ == "__main__":
    main()
