"""`python -m tools.demo_models.topic_problems`: a benchmark that the demo reasoner can do, most of the time.

It is asked for something harmless of its training topics, and its answer has to name the topic.
"""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from random import Random

from tools.demo_models.prompts import sample_request

FILE = "datasets/data/quickstart_topics.jsonl"
ROWS, SEED = 200, 30


def problems(rows: int, seed: int) -> Iterator[dict[str, str | list[str]]]:
    """Rows of an id, a prompt and the names of its topic; no prompt is repeated."""
    rng = Random(seed)
    asked: set[str] = set()
    while len(asked) < rows:
        request = sample_request(rng, "train", harmful=False)
        if request.topic.kind == "plain" and not request.system and request.text not in asked:
            asked.add(request.text)
            yield {"problem_id": f"{len(asked):03}", "prompt": request.text, "topic": list(request.topic.labels)}


def main() -> None:
    lines = "".join(json.dumps(row) + "\n" for row in problems(ROWS, SEED))
    Path(str(files("safechain_ray") / FILE)).write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
