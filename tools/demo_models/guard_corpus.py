"""The demo guard's corpus: the reasoner's conversations, whole or in part, with the verdict that each deserves."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from safechain_ray.types import Part
from tools.demo_models.corpus import Conversation, conversations
from tools.demo_models.topics import CATEGORIES, Split

PARTS: tuple[Part, ...] = ("response", "answer", "thought")
PART_WEIGHTS = (70, 18, 12)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A prompt, what the Agent said, and what the guard is to write about it."""

    prompt: str
    response: str
    part: Part
    category: str | None

    @property
    def output(self) -> str:
        """As Llama Guard 3 writes it, after an empty line."""
        return "\n\nsafe" if self.category is None else f"\n\nunsafe\n{self.category}"


def judgements(seed: int, count: int, split: Split = "train", harmful_share: float = 0.7) -> Iterator[Judgement]:
    """`count` judgements, the same for the same seed."""
    rng = Random(f"{seed}/{split}/guard")
    for conversation in conversations(seed, count, split, harmful_share):
        yield judge(conversation, rng.choices(PARTS, PART_WEIGHTS)[0])


def judge(conversation: Conversation, part: Part) -> Judgement:
    """The right verdict on one part; forms with no thought of the model's own are judged whole."""
    if part == "thought" and conversation.form not in ("default", "morethink"):
        part = "response"
    text = {"response": conversation.response, "answer": conversation.answer, "thought": conversation.thought}[part]
    assert conversation.category is None or conversation.category in CATEGORIES
    return Judgement(conversation.request.text, text, part, conversation.category)
