"""What the catalog says of a training set: prompts with the responses that a model is to learn."""

from typing import Self

from pydantic import Field, model_validator

from safechain_ray.catalog.entries import RowsEntry

LAYOUTS = (
    frozenset({"messages_column"}),
    frozenset({"prompt_column", "response_column"}),
    frozenset({"prompt_column", "thought_column", "answer_column"}),
)
"""The columns that hold a demonstration: a conversation, or a prompt with its response whole or in two."""


class TrainingSetEntry(RowsEntry):
    """Where demonstrations come from, and which of their columns are what.

    Exactly the columns of one of `LAYOUTS` are named. Thoughts stand between R1's tags, whatever model is trained; the
    opening tag may be missing.
    """

    messages_column: str | None = Field(None, description="a list of {role, content}: system or not, user, assistant")
    prompt_column: str | None = None
    response_column: str | None = Field(None, description="thought, in R1's tags, and answer")
    thought_column: str | None = Field(None, description="the thought alone, without tags")
    answer_column: str | None = Field(None, description="the answer alone")
    has_thoughts: bool = Field(True, description="False for a control: answers only, and a thinking tag is an error")

    @property
    def columns(self) -> dict[str, str]:
        """The named columns, by field."""
        names = ("messages_column", "prompt_column", "response_column", "thought_column", "answer_column")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        named = frozenset(self.columns)
        if named not in LAYOUTS:
            known = "; or ".join(", ".join(sorted(layout, reverse=True)) for layout in LAYOUTS)
            raise ValueError(f"the columns named are {', '.join(sorted(named)) or 'none'}; name {known}")
        if "thought_column" in named and not self.has_thoughts:
            raise ValueError("has_thoughts is false, and thought_column names thoughts: take one of them out")
        return self
