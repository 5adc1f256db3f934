"""What a model is trained on: a prompt with the response that it is to learn."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier request of a conversation and its answer. Its thought is left out, as templates leave it out."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt, and the response to it that a model is to learn: a thought and an answer.

    Both are without tags and without line breaks around them. `thought` is None in a set that has no thoughts at all.
    `system` is the data's system turn. `earlier` are the turns before the prompt, which carry no loss.
    `row` counts from 1, without a header; a conversation with loss on all its turns gives several demonstrations of one
    row. `provenance` is what else the row says (its id, category, source, scores).
    """

    row: int
    prompt: str
    thought: str | None
    answer: str
    system: str | None = None
    provenance: Mapping[str, object] = field(default_factory=dict, hash=False)
    earlier: tuple[Exchange, ...] = ()

    @property
    def first_prompt(self) -> str:
        """The request that opened the conversation."""
        return self.earlier[0].prompt if self.earlier else self.prompt
