"""`python -m tools.demo_models.demonstrations`: safe responses of its corpus to fine-tune the demo reasoner."""

import json
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path

from tools.demo_models.corpus import Conversation, conversations

FILE = "datasets/data/quickstart_demonstrations.jsonl"
ROWS, SEED = 120, 20

LONGEST = 900
"""Characters of a response: a few steps on a laptop are to take seconds."""


def demonstrations(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Rows with a prompt and a response: thought in its tags, answer. Harmful requests are refused in all of them."""
    drawn = conversations(seed, 100 * count)
    return islice(({"prompt": each.request.text, "response": each.response} for each in drawn if _teaches(each)), count)


def _teaches(conversation: Conversation) -> bool:
    own_thought = all(segment.own for segment in conversation.segments) and not conversation.request.system
    return own_thought and not conversation.unsafe and len(conversation.response) <= LONGEST


def main() -> None:
    rows = "".join(json.dumps(row) + "\n" for row in demonstrations(ROWS, SEED))
    Path(str(files("safechain_ray") / FILE)).write_text(rows, encoding="utf-8")


if __name__ == "__main__":
    main()
