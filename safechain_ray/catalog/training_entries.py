"""What the catalog says of a training set: prompts with the responses that a model is to learn."""

from typing import Literal, Self

from pydantic import Field, model_validator

from safechain_ray.catalog.entries import RowsEntry

LAYOUTS = (
    frozenset({"messages_column"}),
    frozenset({"prompt_column", "response_column"}),
    frozenset({"prompt_column", "thought_column", "answer_column"}),
)
"""The columns that hold a demonstration: a conversation, or a prompt with its response whole or in two."""

LossOn = Literal["last", "all"]
"""The assistant turns of a conversation that carry loss."""


class TrainingSetEntry(RowsEntry):
    """Where demonstrations come from, and which of their columns are what.

    Either exactly the columns of one of `LAYOUTS` are named, or none. Without names the layout is detected from the
    columns of the data. Thoughts are in the tags of `family`, R1's by default, for every trained model. The opening tag
    may be missing.
    """

    messages_column: str | None = Field(None, description="a list of messages, in OpenAI's or ShareGPT's form")
    prompt_column: str | None = None
    response_column: str | None = Field(None, description="thought, in tags, and answer")
    thought_column: str | None = Field(None, description="the thought alone, without tags")
    answer_column: str | None = Field(None, description="the answer alone")
    input_column: str | None = Field(
        None, description="text appended to the prompt; by default a column `input` or `context`; '' for none"
    )
    system_column: str | None = Field(None, description="the system turn; by default a column `system`; '' for none")
    has_thoughts: bool = Field(True, description="False for a control: answers only, and a thinking tag is an error")
    family: str | None = Field(None, description="the model family in whose tags the thoughts are; r1 by default")
    loss_on: LossOn = Field("last", description="the assistant turns that carry loss")

    @property
    def columns(self) -> dict[str, str]:
        """The named columns, by field."""
        layout = ("messages_column", "prompt_column", "response_column", "thought_column", "answer_column")
        return {name: getattr(self, name) for name in (*layout, "input_column", "system_column") if getattr(self, name)}

    @property
    def layout(self) -> frozenset[str]:
        """The named columns that make a layout."""
        return frozenset(self.columns) - {"input_column", "system_column"}

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        if self.layout and self.layout not in LAYOUTS:
            known = "; or ".join(", ".join(sorted(layout, reverse=True)) for layout in LAYOUTS)
            raise ValueError(f"the columns named are {', '.join(sorted(self.layout))}; name {known}")
        if self.input_column and self.layout == LAYOUTS[0]:
            raise ValueError("input_column needs prompt_column, but messages_column is named: remove one of them")
        if self.thought_column is not None and not self.has_thoughts:
            raise ValueError("has_thoughts is false, but thought_column names thoughts: remove one of them")
        return self
