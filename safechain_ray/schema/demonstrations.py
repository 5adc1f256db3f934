"""What a model is trained on: a prompt with the response that it is to learn."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt, and the response to it that a model is to learn: a thought and an answer.

    Both are without tags and without line breaks around them. `thought` is "" where nothing was thought, and None in a
    set that has no thoughts at all. `system` is the system turn that the data brings along. `row` counts from 1,
    without a header; `provenance` is what else the row says (its id, category, source, scores).
    """

    row: int
    prompt: str
    thought: str | None
    answer: str
    system: str | None = None
    provenance: Mapping[str, object] = field(default_factory=dict, hash=False)
